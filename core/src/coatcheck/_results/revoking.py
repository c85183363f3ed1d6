"""
Revoking tasks, for synchronous code; and how a running task learns of it, for both sides.
"""

from __future__ import annotations

from .. import states
from .._record.failures import Failure
from .._record.meta import ResultMeta
from .._settings.durations import Expires
from .._settings.options import DEFAULT, Default
from ..errors import TaskRevokedError, UnsupportedError
from .reading import Reads
from .storing import Storing


class Revoking(Storing, Reads):
    """The method of `Results` that revokes."""

    def revoke(
        self, task_id: str, reason: str = "revoked", *, expires: Expires | Default = DEFAULT
    ) -> bool:
        """
        Store REVOKED at once, so that waiters hear of it; `False` if the task is over already.

        A running task learns of it at its next heartbeat, `progress()` or `check()`; a task that has not
        started, at its start. The record keeps the task's name, worker and other fields.
        """
        try:
            observed = self.get_task_meta(task_id)
        except UnsupportedError:  # a store that this process only writes to
            observed = self._codec.unknown(task_id)
        return self._put(self._writer.revoked(observed, reason, expires))


class Revocable:
    """The part of a running task that knows whether the task was revoked. No I/O."""

    #: The stored reason, once the task knows that it was revoked.
    _revocation: Failure | None = None

    def _learn(self, stored: ResultMeta | None) -> None:
        """Note that the task was revoked, if its *stored* record says so."""
        if stored is not None and stored.status == states.REVOKED:
            self._revocation = stored.failure or Failure.revoked("revoked")

    def _raise_if_revoked(self) -> None:
        if self._revocation is not None:
            raise TaskRevokedError(self._revocation)
