"""
`running()`: a block of code as a task, from STARTED to the ready record.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .. import states
from .._record.documents import Fields
from .._runtime import forks
from .._runtime.alarm import Alarm
from .._runtime.interruptions import pass_on_interruption
from .._runtime.starting import start
from ..errors import (
    BackendError,
    EncodeError,
    ResultTooLargeError,
    UnsupportedError,
)
from .blocks import TaskProgress, note_lost, progress_info
from .entries import TaskLog
from .misuse import HoldsConnections

if TYPE_CHECKING:
    from .._settings.durations import Expires
    from .._settings.options import Default
    from .results import Results

_logger = logging.getLogger("coatcheck")


class _Own:
    """
    The parts of a running task that belong to one process: the heartbeat's thread, and a turn to write.
    """

    def __init__(self) -> None:
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        # The parent's thread goes on giving signs of life; here it is not there.
        self.beating: threading.Thread | None = None
        # Unready records are written by the block and by the heartbeat, one at a time.
        self.writing = threading.Lock()


class RunningTask(TaskProgress, HoldsConnections):
    """What `running()` gives to its block."""

    def __init__(
        self,
        results: Results,
        task_id: str,
        *,
        expires: Expires | Default,
        heartbeat: float | None,
        fields: Fields,
    ) -> None:
        super().__init__(task_id, heartbeat=heartbeat, fields=fields)
        self._results = results
        self._expires = expires
        self._log = TaskLog(results, task_id, self._fields, self._info)
        #: Whether the block ended: no sign of life may follow.
        self._over = False
        self._ended = Alarm()
        self._own = _Own()

    def progress(self, current: float, total: float | None = None, **info: Any) -> None:
        """Store a PROGRESS record: *current* of *total*, and the other data given."""
        self.update_state(states.PROGRESS, progress_info(current, total, info))

    def emit(self, data: Any, kind: str = "event") -> None:
        """
        Append an event to the log of the task, see `Results.events`. Needs the capability EVENTS.

        Raises `EncodeError` or `ResultTooLargeError` if *data* is at fault. If the store is away, that is
        logged, and the event goes with the next write. Raises `TaskRevokedError` if the task was revoked.
        """
        forks.check()
        with self._own.writing:
            self._log.emit(kind, data)
            unready = self._try(self._store_unready)
        if not unready:
            self._look()
            self._raise_if_revoked()

    def update_state(self, state: str, meta: Any = None) -> None:
        """
        Store an unready record. Raises `EncodeError` or `ResultTooLargeError` if *meta* is at fault.

        A store that is away does not break the work off: it is logged, and the next write shows
        the state. Raises `TaskRevokedError` if the task was revoked.
        """
        forks.check()
        with self._own.writing:
            before = self._set(state, meta)
            try:
                self._log.note(state, meta)
                unready = self._try(self._store_unready)
            except (EncodeError, ResultTooLargeError):
                self._log.take_back()
                self._set(*before)  # or the next sign of life would fail as well
                raise
        if not unready:
            self._look()
            self._raise_if_revoked()

    def check(self) -> None:
        """
        Raise `TaskRevokedError` if the task was revoked.

        The heartbeat learns of that within its interval, and the call does no I/O. Without a heartbeat
        it reads the record.
        """
        beating = self._own.beating
        if beating is None or not beating.is_alive() or self.won is False:
            self._look()
        self._raise_if_revoked()

    def _look(self) -> None:
        """Find out whether the task was revoked. A store that cannot tell does not break the work off."""
        try:
            if self._revocation is None:
                self._learn(self._results.backend.get_many([self.task_id]).get(self.task_id))
        except (BackendError, UnsupportedError) as error:
            self._not_read(error)

    def _store_unready(self) -> bool:
        state, info, fields = self._unready()
        if events := self._log.pending():
            won = self._results._append(  # noqa: SLF001 - its log
                self.task_id, info, state, events, expires=self._expires, fields=fields
            )
            self._log.sent()
            self._known = True
            return won
        won = self._results.store_result(self.task_id, info, state, expires=self._expires, **fields)
        self._known = True
        return won

    def _store_ready(self, error: BaseException | None) -> bool:
        state, result, fields = self._ready(error)
        return self._results.store_result(
            self.task_id,
            result,
            state,
            expires=self._expires,
            protect=self._results.protect,
            **fields,
        )

    def _store_beat(self) -> bool:
        """
        Give a sign of life over exactly the record that is there; `False` if the task is over.
        """
        try:
            observed = self._results.backend.get_many([self.task_id]).get(self.task_id)
        except UnsupportedError:
            # A write-only store: its reader decides which records are replaced.
            return self._store_unready()
        if observed is not None and observed.ready:
            self._learn(observed)
            return False
        if self._may_beat_over(observed):
            state, info, fields = self._unready()
            stored = self._results._replace(
                self.task_id,
                observed,
                info,
                state,
                expires=self._expires,
                fields=fields,
                events=self._log.pending(),
            )
            if stored:
                self._known = True
                self._log.sent()
        return True

    def __enter__(self) -> Self:
        forks.check()
        with self._own.writing:
            self._begun(stored=self._try(self._store_unready))
        self._start_beating()
        return self

    def _start_beating(self) -> None:
        if self._heartbeat is not None:
            beat = weakref.WeakMethod(self._beat_once)
            beating = threading.Thread(
                # In the block's context, so that the signs of life belong to its trace.
                target=copy_context().run,
                args=(_keep_beating, beat, self._ended, self._heartbeat),
                name="coatcheck-heartbeat",
                daemon=True,
            )
            try:
                start(beating)
            except BaseException:
                self._ended.ring()  # it may run all the same
                raise
            self._own.beating = beating

    def _beat_once(self) -> bool:
        """Give a sign of life; `False` if the task is over."""
        with self._own.writing:
            return not self._over and self._try(self._store_beat)

    def _try(self, store: Callable[[], bool]) -> bool:
        """
        Store an unready record; `False` if the task is over already.

        A store that is away must not keep the work from being done: the next write may succeed.
        """
        try:
            return store()
        except ResultTooLargeError:
            raise
        except BackendError as error:
            _logger.warning(
                "task %r runs on, its state could not be stored: %s", self.task_id, error
            )
            return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        forks.check()
        self._over = True
        self._ended.ring()
        if self._own.beating is not None:
            self._own.beating.join()
        if self._log.waits and self.won is None:
            self._try(self._store_unready)
        try:
            if self._retries(error):
                # RETRY must not come over the record of the next attempt.
                self._log.retry(error)
                won = self._store_beat()
            else:
                won = self._store_ready(error)
            self._stored(won=won)
        except Exception as failed:
            pass_on_interruption(failed)
            if error is None:
                raise
            note_lost(error, failed)


def _keep_beating(beat: weakref.WeakMethod[Callable[[], bool]], ended: Alarm, every: float) -> None:
    # By a weak reference: a signal handler that raises as a block ends keeps `__exit__` from running.
    while not ended.sleep(every):
        beat_once = beat()
        if beat_once is None or not beat_once():
            return
        del beat_once
