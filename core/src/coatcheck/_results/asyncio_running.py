"""
`running()` for asyncio, see `coatcheck._results.running`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .. import states
from .._record.documents import Fields
from .._runtime import tasks
from .._runtime.interruptions import pass_on_interruption
from ..errors import BackendError, EncodeError, ResultTooLargeError, UnsupportedError
from .blocks import TaskProgress, note_lost, progress_info
from .entries import TaskLog
from .misuse import HoldsConnections

if TYPE_CHECKING:
    from .._settings.durations import Expires
    from .._settings.options import Default
    from .asyncio_results import Results

_logger = logging.getLogger("coatcheck")


class RunningTask(TaskProgress, HoldsConnections):
    """As `coatcheck.RunningTask`, for `async with`."""

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
        self._writing = asyncio.Lock()
        self._ended = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None

    async def progress(self, current: float, total: float | None = None, **info: Any) -> None:
        """See `coatcheck.RunningTask.progress`."""
        await self.update_state(states.PROGRESS, progress_info(current, total, info))

    async def emit(self, data: Any, kind: str = "event") -> None:
        """See `coatcheck.RunningTask.emit`."""
        async with self._writing:
            self._log.emit(kind, data)
            unready = await self._try(self._store_unready)
        if not unready:
            await self._look()
            self._raise_if_revoked()

    async def update_state(self, state: str, meta: Any = None) -> None:
        """See `coatcheck.RunningTask.update_state`."""
        async with self._writing:
            before = self._set(state, meta)
            try:
                self._log.note(state, meta)
                unready = await self._try(self._store_unready)
            except (EncodeError, ResultTooLargeError):
                self._log.take_back()
                self._set(*before)  # or the next sign of life would fail as well
                raise
        if not unready:
            await self._look()
            self._raise_if_revoked()

    async def check(self) -> None:
        """See `coatcheck.RunningTask.check`."""
        if self._beating is None or self._beating.done() or self.won is False:
            await self._look()
        self._raise_if_revoked()

    async def _look(self) -> None:
        try:
            if self._revocation is None:
                found = await self._results.backend.get_many([self.task_id])
                self._learn(found.get(self.task_id))
        except (BackendError, UnsupportedError) as error:
            self._not_read(error)

    async def _store_unready(self) -> bool:
        state, info, fields = self._unready()
        if events := self._log.pending():
            won = await self._results._append(  # noqa: SLF001 - its log
                self.task_id, info, state, events, expires=self._expires, fields=fields
            )
            self._log.sent()
            self._known = True
            return won
        won = await self._results.store_result(
            self.task_id, info, state, expires=self._expires, **fields
        )
        self._known = True
        return won

    async def _store_ready(self, error: BaseException | None) -> bool:
        state, result, fields = self._ready(error)
        return await self._results.store_result(
            self.task_id,
            result,
            state,
            expires=self._expires,
            protect=self._results.protect,
            **fields,
        )

    async def _store_beat(self) -> bool:
        try:
            observed = (await self._results.backend.get_many([self.task_id])).get(self.task_id)
        except UnsupportedError:
            return await self._store_unready()
        if observed is not None and observed.ready:
            self._learn(observed)
            return False
        if self._may_beat_over(observed):
            state, info, fields = self._unready()
            stored = await self._results._replace(
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

    async def __aenter__(self) -> Self:
        self._begun(stored=await self._try(self._store_unready))
        self._start_beating()
        return self

    def _start_beating(self) -> None:
        if self._heartbeat is not None:
            self._beating = tasks.start(
                self._keep_beating(self._heartbeat), name="coatcheck-heartbeat"
            )

    async def _keep_beating(self, every: float) -> None:
        while not await self._has_ended(every):
            async with self._writing:
                if self._ended.is_set() or not await self._try(self._store_beat):
                    return

    async def _has_ended(self, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    async def _try(self, store: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await store()
        except ResultTooLargeError:
            raise
        except BackendError as error:
            _logger.warning(
                "task %r runs on, its state could not be stored: %s", self.task_id, error
            )
            return True

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._beating is not None:
            # Not cancelled: a sign of life that is under way must not come after the result.
            await asyncio.wait([self._beating])
        if self._log.waits and self.won is None:
            await self._try(self._store_unready)
        try:
            if self._retries(error):
                self._log.retry(error)
                won = await self._store_beat()
            else:
                won = await self._store_ready(error)
            self._stored(won=won)
        except Exception as failed:
            pass_on_interruption(failed)
            if error is None:
                raise
            note_lost(error, failed)
