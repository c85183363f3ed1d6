"""
Work that runs once for a key, for synchronous code.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, TypeVarTuple, Unpack, cast

from .._record.documents import checked_id
from .._record.meta import ResultMeta
from .._settings.durations import Expires, checked_heartbeat
from .._settings.options import DEFAULT, Default
from .._waiting.hub import Hub, ThreadWaiter
from ..errors import UnknownTaskError
from .claiming import DEFAULT_HEARTBEAT, Claimed, Contest, Fingerprint
from .reading import Reads
from .running import RunningTask
from .storing import Storing

if TYPE_CHECKING:
    from .results import Results

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Once(Storing, Reads):
    """The methods of `Results` for work that runs once."""

    _hub: Hub

    def once(
        self,
        key: str,
        function: Callable[[Unpack[Ts]], T],
        *args: *Ts,
        fingerprint: Fingerprint = None,
        heartbeat: float | None = DEFAULT_HEARTBEAT,
        timeout: float | None = None,
        expires: Expires | Default = DEFAULT,
    ) -> T:
        """
        Call ``function(*args)`` if nobody has for *key*, which is the task's id, and return the stored result.

        Of several callers, in any process, one runs the function and the others wait. An exception is the
        stored failure, which all of them get. If the process of the one dies, another takes over.

        Args:
            fingerprint: identifies the request, such as its body. The same key with another one raises
                `OnceConflictError`. Only its SHA-256 is stored.
            heartbeat: seconds between signs of life. After three without one, the work is taken over.
            timeout: how many seconds to wait for another caller's result; `None` waits.
            expires: how long the result is kept.
        """
        with self.claim(
            key, fingerprint=fingerprint, heartbeat=heartbeat, timeout=timeout, expires=expires
        ) as claim:
            if claim.mine:
                claim.result = function(*args)
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
        """
        Do the same as `once` for a block: if `claim.mine`, the block does the work and sets
        `claim.result`. Otherwise `claim.result` is the stored value already.
        """
        contest = Contest(checked_id(key), fingerprint, timeout)
        results = cast("Results", self)
        return Claim(results, contest, heartbeat=checked_heartbeat(heartbeat), expires=expires)

    def _contend(
        self, contest: Contest, claim: Callable[[ResultMeta | None], bool]
    ) -> ResultMeta | None:
        """Return the ready record, or `None` once a *claim* over the stored record succeeded."""
        key = contest.task_id
        while not claim(contest.over):
            if not contest.found(self.backend.get_many([key]).get(key)):
                waiter = ThreadWaiter([key], contest.left, beats=True, must_exist=True)
                try:
                    with closing(self._hub.results(waiter)) as metas:
                        any(contest.changed(meta) for meta in metas)
                except UnknownTaskError:
                    contest.found(None)
            if contest.ready is not None:
                return contest.ready
        return None


class Claim(Claimed, RunningTask):
    """The object that `claim()` gives to its block: a running task, if the work is the block's."""

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

    def __enter__(self) -> Self:
        ready = self._results._contend(self._contest, self._claim)  # noqa: SLF001
        if ready is None:
            self.mine = True
            self._start_beating()
        else:
            self._take(ready)
        return self

    def _claim(self, over: ResultMeta | None) -> bool:
        self._begin_claim()
        state, info, fields = self._unready()
        self._known = self._results._replace(
            self.task_id, over, info, state, expires=self._expires, fields=fields
        )
        return self._known

    def _store_ready(self, error: BaseException | None) -> bool:
        if self._hands_back(error):
            self._store_beat()
            return False
        won = super()._store_ready(error)
        if error is None and not won:
            stored = self._results.get_task_meta(self.task_id)
            if stored.ready:
                self._take(stored)
        return won

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.mine:
            super().__exit__(kind, error, traceback)
