"""
The hub for asyncio, see `coatcheck._waiting.hub`: one task a loop looks for all waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from typing import Any

from .._backends.asyncio_backend import Backend
from .._backends.asyncio_bells import Bell
from .._backends.portions import BATCH, Portions
from .._record.meta import ResultMeta
from .._runtime import tasks
from .._runtime.clocks import monotonic
from ..errors import BackendError, BackendUnavailableError, PartlyUnavailableError
from .pacing import PORTION
from .timers import Alarms
from .waits import GATHER, INFINITY, LINGER, TURN, Waiter, Waits

_logger = logging.getLogger("coatcheck")


class TaskWaiter(Waiter):
    """
    A wait in a task.
    """

    __slots__ = ("_alarm", "_notified", "_paused")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._notified = False
        self._paused: asyncio.Future[None] | None = None
        self._alarm: int | None = None

    def notify(self) -> None:
        self._notified = True
        if self._paused is not None and not self._paused.done():
            self._paused.set_result(None)

    def pause(self, seconds: float, alarms: Alarms) -> Awaitable[None]:
        """
        Sleep until notified, at most *seconds*.
        """
        # Neither a coroutine nor an event and a timeout: of waits there are many, and those are
        # large.
        self.rest(alarms)
        self._paused = asyncio.get_running_loop().create_future()
        if self._notified or seconds <= 0:
            self.notify()
        elif seconds < INFINITY:
            self._alarm = alarms.set(monotonic() + seconds, self)
        self._notified = False
        return self._paused

    def rest(self, alarms: Alarms) -> None:
        """
        Let go of what the last pause needed.
        """
        self._paused = None
        if self._alarm is not None:
            alarms.unset(self._alarm, self)
            self._alarm = None


class Hub:
    """
    As `coatcheck._waiting.hub.Hub`, for the tasks of one event loop.
    """

    def __init__(
        self,
        backend: Backend[ResultMeta],
        *,
        portions: Portions,
        safety_look: float,
        operation_timeout: float,
        on_lost: Callable[[ResultMeta], Awaitable[ResultMeta | None]],
    ) -> None:
        self.backend = backend
        self.portions = portions
        self.safety_look = safety_look
        self.operation_timeout = operation_timeout
        self.on_lost = on_lost
        self._watch: Watch | None = None

    @property
    def idle(self) -> bool:
        """
        Whether nobody waits.
        """
        return self._watch is None or self._watch.waits.idle

    async def results(self, waiter: TaskWaiter) -> AsyncGenerator[ResultMeta, None]:
        """
        Iterate over what *waiter* waits for, as it comes.

        Raises `WaitTimeoutError` after its timeout and a last look.
        """
        watch = self.join(waiter)
        try:
            while True:
                while (pause := watch.pause(waiter)) is not None:
                    await pause
                if (meta := waiter.take()) is None:
                    return
                yield meta
        finally:
            watch.leave(waiter)

    def join(self, waiter: TaskWaiter) -> Watch:
        """
        Begin a wait; whoever does so ends it by `Watch.leave`.
        """
        watch = self._watch
        if watch is None or watch.task.done():
            watch = self._watch = Watch(self)
        watch.waits.join(waiter, monotonic())
        watch.wake()
        return watch

    def dismiss(self, watch: Watch) -> None:
        """
        Let the next wait start a watch of its own.
        """
        if self._watch is watch:
            self._watch = None

    async def close(self) -> None:
        """
        Break all waits and end the task. A later wait starts a new one.
        """
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.waits.abort_all(BackendError("the result backend was closed during the wait"))
            watch.task.cancel()
            await asyncio.wait([watch.task])


class Watch:
    """
    One life of the hub's task: its waits, its subscription.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._backend = hub.backend
        self._portions = hub.portions
        self.waits = Waits(safety_look=hub.safety_look, operation_timeout=hub.operation_timeout)
        self.task = tasks.start(self._run(), name="coatcheck-hub")
        self._alarms = Alarms()
        self._bell: Bell | None = None
        # Whether the last turn heard something: those who wait come first, clearing up later.
        self._ringing = False

    def wake(self) -> None:
        """
        End the task's pause.
        """
        if self._bell is not None:
            self._bell.wake()

    def leave(self, waiter: TaskWaiter) -> None:
        """
        Forget *waiter*.
        """
        waiter.rest(self._alarms)
        self.waits.leave(waiter)

    def pause(self, waiter: TaskWaiter) -> Awaitable[None] | None:
        """
        Return what to await next; `None` where a snapshot is there to take, or nothing is pending.

        Not a coroutine that returns the snapshot: that is memory where ten thousand wait.
        """
        if self.waits.may_resume(waiter):
            self.waits.resume(waiter)
            self.wake()
        if waiter.is_served:
            return None
        waiter.check()
        now = monotonic()
        if now < waiter.deadline:
            return waiter.pause(waiter.tick(now), self._alarms)
        return self._last_look(waiter)

    async def _last_look(self, waiter: TaskWaiter) -> None:
        """
        Have the pending tasks looked at, see `Waits.patience`.
        """
        since = monotonic()
        if not waiter.attentive:
            self.waits.look_again(waiter, since)
            self.wake()
        while (seconds := self.waits.patience(waiter, since, monotonic())) > 0:
            await waiter.pause(seconds, self._alarms)
        self.waits.end_last_look(waiter, self._backend.trouble)

    # -- the task -------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            try:
                async with self._backend.watch() as bell:
                    await self._serve(bell)
            except (BackendError, OSError) as error:  # such as no free descriptor
                _logger.warning("no subscription, polling instead: %s", error)
                await self._serve(Bell())
        except asyncio.CancelledError:
            self.waits.abort_all(BackendError("the hub's task was cancelled during the wait"))
            raise
        except Exception as error:
            _logger.exception("the hub failed, and with it all waits")
            self._hub.dismiss(self)
            self.waits.abort_all(error)

    async def _serve(self, bell: Bell) -> None:
        self._bell = bell
        try:
            while await self._turn(bell):
                pass
        finally:
            self._bell = None

    async def _turn(self, bell: Bell) -> bool:
        """
        Look, subscribe, listen; `False` when the task is to end.
        """
        await self._look_at_due(bell)  # what rang comes first
        await self._update_subscription(bell)
        now = monotonic()
        at = self.waits.next_look(now)
        was_idle = self.waits.idle
        rang = await self._listen(bell, LINGER if at is None else min(max(at - now, 0.0), LINGER))
        self.waits.ring(rang)
        # A wake may have come late, for a wait that is over: it does not end the task early.
        stayed = monotonic() - now >= LINGER / 2
        if was_idle and stayed and self.waits.idle:
            self._hub.dismiss(self)
            return False
        return True

    async def _listen(self, bell: Bell, seconds: float) -> Collection[str]:
        """
        Return what rang. Where one ring follows the other, one read is to serve many of them.
        """
        start = monotonic()
        rang = await bell.wait(seconds)
        if rang and self._ringing and seconds > 0 and monotonic() - start < GATHER:
            await asyncio.sleep(GATHER)
            rang = {*rang, *await bell.wait(0)}
        self._ringing = bool(rang)
        return rang

    async def _update_subscription(self, bell: Bell) -> None:
        if fresh := self.waits.to_watch(BATCH, monotonic()):
            await bell.add(fresh)  # a barrier: the look comes after it
            await self._look_at_due(bell)
        gone = self.waits.to_unwatch(BATCH if self._ringing else 1)
        if gone:
            await bell.discard(gone)

    async def _look_at_due(self, bell: Bell) -> None:
        now = monotonic()
        end = now + TURN
        while portion := self.waits.take_due(now, self._portions.count(PORTION)):
            await self._look(portion, bell)
            if (now := monotonic()) >= end:
                return

    async def _look(self, task_ids: list[str], bell: Bell) -> None:
        began = monotonic()
        try:
            metas = await self._backend.get_many(task_ids)
        except PartlyUnavailableError as error:
            read = [task_id for task_id in task_ids if task_id not in error.unread]
            await self._found(read, error.found, bell, began)
            # Last, so that a wait for some of both knows of it.
            self._failed(list(error.unread), error)
        except BackendError as error:
            if isinstance(error, BackendUnavailableError):
                self._portions.failed(len(task_ids))
            self._failed(task_ids, error)
        except Exception as error:  # noqa: BLE001 - raised in the tasks that wait
            self.waits.abort(task_ids, error)
        else:
            self._portions.came(len(task_ids), metas.values(), monotonic() - began)
            self.waits.most_held = self._portions.held
            await self._found(task_ids, metas, bell, began)

    async def _found(
        self, task_ids: list[str], metas: dict[str, ResultMeta], bell: Bell, began: float
    ) -> None:
        for observed in self._tell(task_ids, metas, bell, began):
            meta = await self._hub.on_lost(observed)
            if meta is not None:
                self._tell([meta.task_id], {meta.task_id: meta}, bell, monotonic())

    def _failed(self, task_ids: list[str], error: BackendError) -> None:
        _logger.debug("a look failed: %s", error)
        self.waits.failed(task_ids, error, monotonic())

    def _tell(
        self, task_ids: list[str], metas: dict[str, ResultMeta], bell: Bell, began: float
    ) -> list[ResultMeta]:
        now = monotonic()
        return self.waits.absorb(
            task_ids,
            metas,
            now,
            pushing=bell.pushing,
            lag=bell.lag,
            unready=bell.unready,
            took=now - began,
        )
