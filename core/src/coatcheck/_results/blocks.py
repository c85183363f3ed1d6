"""
The state of a running block, and the records it comes to. Both sides share it. No I/O.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import Any, cast

from .. import states
from .._record.documents import AllFields, Fields
from .._record.meta import ResultMeta
from .._runtime.bare import add_note, is_a, mro_of, name_of
from .._runtime.clocks import wall
from ..errors import TaskRevokedError
from .revoking import Revocable

_logger = logging.getLogger("coatcheck")


def worker_name() -> str:
    """Return the name of this process as a worker: pid and host."""
    return f"{os.getpid()}@{os.uname().nodename if hasattr(os, 'uname') else 'localhost'}"


class TaskProgress(Revocable):
    """The state of a running block, and the records it comes to. No I/O."""

    def __init__(self, task_id: str, *, heartbeat: float | None, fields: Fields) -> None:
        self.task_id = task_id
        #: The value to store when the block ends; `None` where the block sets nothing.
        self.result: Any = None
        #: Whether ours was the first ready record; `None` while the block runs, but `False` from
        #: the start where the task was over already, so that the result will not be stored.
        self.won: bool | None = None
        self._heartbeat = heartbeat
        self._beat = 0
        # Tells the signs of life of one run from those of another run of the same task.
        self._run = os.urandom(4).hex()
        #: Whether an unready record was stored yet.
        self._known = False
        self._fields = cast("AllFields", {"worker": worker_name(), **fields})
        self._fields.setdefault("date_started", datetime.now(UTC))
        self._again = False
        self._state = states.STARTED
        self._info: Any = {"pid": os.getpid(), "hostname": worker_name().partition("@")[2]}

    def note(self, **extra: Any) -> None:
        """Add to the `extra` data of the records to come. No I/O."""
        self._fields["extra"] = {**(self._fields.get("extra") or {}), **extra}

    def retry(self) -> None:
        """Let an exception that leaves the block mean RETRY: another attempt follows. No I/O."""
        self._again = True

    def _unready(self) -> tuple[str, Any, AllFields]:
        """Return state, info and fields of the record to store while the block runs."""
        fields = cast("AllFields", dict(self._fields))
        if self._heartbeat is not None:
            self._beat += 1
            fields["heartbeat"] = {
                "every": self._heartbeat,
                "beat": self._beat,
                "run": self._run,
                "at": round(wall(), 3),
            }
        return self._state, self._info, fields

    def _begun(self, *, stored: bool) -> None:
        """Take in whether STARTED was stored: if not, the task is over."""
        if not stored:
            self.won = False
            _logger.warning(
                "task %r is over already: its block runs, and the result will not be stored; use "
                "another id, or forget() the task before",
                self.task_id,
            )

    def _stored(self, *, won: bool) -> None:
        """Take in whether the ready record of this run was the first."""
        if not won and self.won is None and self._revocation is None:
            _logger.warning(
                "the result of task %r was not stored: the task was over before its block ended",
                self.task_id,
            )
        self.won = won

    def _may_beat_over(self, observed: ResultMeta | None) -> bool:
        """
        Return whether a sign of life may replace the stored record: there is no record, or it is one of this run.

        Any other record, such as RETRY, or STARTED by another worker, means that this run does not count any
        more. A first record of this run that did not reach the store yet is more than a sign of life.
        """
        if observed is None or not self._known:
            return True
        return (observed.heartbeat or {}).get("run") == self._run

    def _not_read(self, error: Exception) -> None:
        _logger.warning("task %r runs on, revoked or not: %s", self.task_id, error)

    def _set(self, state: str, info: Any) -> tuple[str, Any]:
        """Set the state and info that the next unready record shows; return those before."""
        before = self._state, self._info
        self._state, self._info = states.checked(state), info
        return before

    def _ready(self, error: BaseException | None) -> tuple[str, Any, AllFields]:
        """
        Return state, result and fields of the record to store at the end.

        KeyboardInterrupt, SystemExit, a cancellation, and any other exception that is not an `Exception` mean
        that the task was interrupted.
        """
        if error is None:
            return states.SUCCESS, self.result, self._fields
        if self._revocation is not None and is_a(error, TaskRevokedError):
            return states.REVOKED, self._revocation, self._fields
        if is_a(error, (Exception, BaseExceptionGroup)) and not _is_cancellation(error):
            return states.FAILURE, error, self._fields
        return states.REVOKED, name_of(type(error)).rpartition(".")[2], self._fields

    def _retries(self, error: BaseException | None) -> bool:
        """Return whether the block ended in RETRY. If so, the next unready record is that."""
        if not self._again or error is None:
            return False
        self._state, self._info, self._heartbeat = states.RETRY, error, None
        return True


def _is_cancellation(error: BaseException) -> bool:
    # By name: the sync side does not import asyncio, and concurrent.futures has one as well.
    return any(name_of(cls) == "CancelledError" for cls in mro_of(type(error)))


def progress_info(current: float, total: float | None, info: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a PROGRESS record."""
    return {"current": current, "total": total, **info}


def note_lost(error: BaseException, failed: BaseException) -> None:
    """Say on *error*, which a block raised, that its record could not be stored."""
    add_note(error, f"coatcheck: the failure could not be stored: {failed}")
