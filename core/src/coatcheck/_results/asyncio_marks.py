"""
`mark_as_done()` and its kin in asyncio, see `coatcheck._results.marks`.
"""

from __future__ import annotations

from typing import Any, Unpack

from .. import states
from .._backends.backend import ANY
from .._record.documents import Fields
from .._settings.durations import Expires
from .._settings.options import DEFAULT, Default
from .asyncio_eventlog import EventLog


class Marks(EventLog):
    """The methods of `Results` that store one state."""

    async def mark_as_started(
        self,
        task_id: str,
        meta: Any = None,
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """See `coatcheck.Results.mark_as_started`."""
        return await self.store_result(task_id, meta, states.STARTED, expires=expires, **fields)

    async def mark_as_done(
        self,
        task_id: str,
        result: Any = None,
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """See `coatcheck.Results.mark_as_done`."""
        return await self.store_result(task_id, result, expires=expires, **fields)

    async def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        *,
        traceback: str | None = None,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """See `coatcheck.Results.mark_as_failure`."""
        return await self.store_result(
            task_id, exc, states.FAILURE, traceback=traceback, expires=expires, **fields
        )

    async def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException | None = None,
        *,
        traceback: str | None = None,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """See `coatcheck.Results.mark_as_retry`."""
        return await self._store_retry(task_id, exc, traceback, expires, fields)

    async def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "revoked",
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """See `coatcheck.Results.mark_as_revoked`."""
        return await self.store_result(task_id, reason, states.REVOKED, expires=expires, **fields)

    async def update_state(
        self,
        task_id: str,
        state: str,
        meta: Any = None,
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """See `coatcheck.Results.update_state`."""
        return await self.store_result(task_id, meta, state, expires=expires, **fields)

    async def expect(self, task_id: str, *, expires: Expires | Default = DEFAULT) -> bool:
        """See `coatcheck.Results.expect`."""
        return await self.store_result(task_id, None, states.PENDING, expires=expires, protect=ANY)
