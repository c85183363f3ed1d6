"""
Work that runs once for a key, in asyncio, see `coatcheck._results.once`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, TypeVarTuple, Unpack, cast

from .._record.documents import checked_id
from .._record.meta import ResultMeta
from .._runtime.loops import PerLoop
from .._settings.durations import Expires, checked_heartbeat
from .._settings.options import DEFAULT, Default
from .._waiting.asyncio_hub import Hub, TaskWaiter
from ..errors import UnknownTaskError
from .asyncio_reading import Reads
from .asyncio_running import RunningTask
from .asyncio_storing import Storing
from .claiming import DEFAULT_HEARTBEAT, Claimed, Contest, Fingerprint

if TYPE_CHECKING:
    from .asyncio_results import Results

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Once(Storing, Reads):
    """The methods of `Results` for work that runs once."""

    _hubs: PerLoop[Hub]

    async def once(
        self,
        key: str,
        function: Callable[[Unpack[Ts]], Awaitable[T]],
        *args: *Ts,
        fingerprint: Fingerprint = None,
        heartbeat: float | None = DEFAULT_HEARTBEAT,
        timeout: float | None = None,
        expires: Expires | Default = DEFAULT,
    ) -> T:
        """See `coatcheck.Results.once`; *function* is a coroutine function."""
        async with self.claim(
            key, fingerprint=fingerprint, heartbeat=heartbeat, timeout=timeout, expires=expires
        ) as claim:
            if claim.mine:
                claim.result = await function(*args)
        result: T = claim.result
        return result

    def claim(
        self,
        key: str,
        *,
        fingerprint: Fingerprint = None,
        heartbeat: float | None = DEFAULT_HEARTBEAT,
        timeout: float | None = None,
        expires: Expires | Default = DEFAULT,
    ) -> Claim:
        """See `coatcheck.Results.claim`."""
        contest = Contest(checked_id(key), fingerprint, timeout)
        results = cast("Results", self)
        return Claim(results, contest, heartbeat=checked_heartbeat(heartbeat), expires=expires)

    async def _contend(
        self, contest: Contest, claim: Callable[[ResultMeta | None], Awaitable[bool]]
    ) -> ResultMeta | None:
        key = contest.task_id
        while not await claim(contest.over):
            found = await self.backend.get_many([key])
            if not contest.found(found.get(key)):
                waiter = TaskWaiter([key], contest.left, beats=True, must_exist=True)
                try:
                    async with aclosing(self._hubs.get().results(waiter)) as metas:
                        await anext(meta async for meta in metas if contest.changed(meta))
                except UnknownTaskError:
                    contest.found(None)
            if contest.ready is not None:
                return contest.ready
        return None


class Claim(Claimed, RunningTask):
    """As `coatcheck.Claim`, for `async with`."""

    def __init__(
        self,
        results: Results,
        contest: Contest,
        *,
        heartbeat: float | None,
        expires: Expires | Default,
    ) -> None:
        super().__init__(results, contest.task_id, heartbeat=heartbeat, expires=expires, fields={})
        self._contest = contest

    async def __aenter__(self) -> Self:
        ready = await self._results._contend(self._contest, self._claim)  # noqa: SLF001
        if ready is None:
            self.mine = True
            self._start_beating()
        else:
            self._take(ready)
        return self

    async def _claim(self, over: ResultMeta | None) -> bool:
        self._begin_claim()
        state, info, fields = self._unready()
        self._known = await self._results._replace(
            self.task_id, over, info, state, expires=self._expires, fields=fields
        )
        return self._known

    async def _store_ready(self, error: BaseException | None) -> bool:
        if self._hands_back(error):
            await self._store_beat()
            return False
        won = await super()._store_ready(error)
        if error is None and not won:
            stored = await self._results.get_task_meta(self.task_id)
            if stored.ready:
                self._take(stored)
        return won

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.mine:
            await super().__aexit__(kind, error, traceback)
