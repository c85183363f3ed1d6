"""
`mark_as_done()` and its kin, for synchronous code.
"""

from __future__ import annotations

from typing import Any, Unpack

from .. import states
from .._backends.backend import ANY
from .._record.documents import Fields
from .._settings.durations import Expires
from .._settings.options import DEFAULT, Default
from .eventlog import EventLog


class Marks(EventLog):
    """The methods of `Results` that store one state."""

    def mark_as_started(
        self,
        task_id: str,
        meta: Any = None,
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """Store STARTED, with *meta* as its info."""
        return self.store_result(task_id, meta, states.STARTED, expires=expires, **fields)

    def mark_as_done(
        self,
        task_id: str,
        result: Any = None,
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """Store SUCCESS, with *result* as its value."""
        return self.store_result(task_id, result, expires=expires, **fields)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        *,
        traceback: str | None = None,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """
        Store FAILURE, with all that can be kept of *exc*; *traceback* is made of it if not given.
        """
        return self.store_result(
            task_id, exc, states.FAILURE, traceback=traceback, expires=expires, **fields
        )

    def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException | None = None,
        *,
        traceback: str | None = None,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """Store RETRY, with the exception that is the reason."""
        return self._store_retry(task_id, exc, traceback, expires, fields)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "revoked",
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """Store REVOKED, and nothing of the record that was there; see `revoke`."""
        return self.store_result(task_id, reason, states.REVOKED, expires=expires, **fields)

    def update_state(
        self,
        task_id: str,
        state: str,
        meta: Any = None,
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """Store any state, with *meta* as its info. The last unready write wins."""
        return self.store_result(task_id, meta, state, expires=expires, **fields)

    def expect(self, task_id: str, *, expires: Expires | Default = DEFAULT) -> bool:
        """Record PENDING if nothing is there, so that the task is known; `False` if it was."""
        return self.store_result(task_id, None, states.PENDING, expires=expires, protect=ANY)
