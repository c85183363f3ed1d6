"""
The hub for asyncio: one task looks for all waits of a loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import nullcontext
from typing import Any

from .._backends.asyncio_bells import Bell
from .._record.meta import ResultMeta
from .._runtime import tasks
from .._runtime.clocks import monotonic
from .._runtime.latch import AGAIN, Latch, Sleeper
from ..errors import BackendError
from .timers import Alarms
from .waiter import INFINITY, Waiter
from .watch import UNSUBSCRIBED, HubBase, Steps, Watch


class TaskWaiter(Waiter, Sleeper):
    """A wait in a task."""

    __slots__ = ("_alarm", "_future", "_rung", "_waking")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rung = False
        self._alarm: int | None = None
        self._future = self._waking = None

    notify = Sleeper.ring

    def pause(self, seconds: float, alarms: Alarms) -> Awaitable[None]:
        """Sleep until notified, at most *seconds*."""
        # A bare future, because there are many waits: coroutines, events and timeouts are large.
        if self._alarm is not None:
            self.rest(alarms)
        future = self.fall_asleep()
        if seconds <= 0:
            self.ring()
        elif seconds < INFINITY:
            self._alarm = alarms.set(monotonic() + seconds, self)
        return future

    def rest(self, alarms: Alarms) -> None:
        """Release everything that the last pause needed."""
        self._future = self._waking = None
        if self._alarm is not None:
            alarms.unset(self._alarm, self)
            self._alarm = None


class Hub(HubBase):
    """Serves the tasks of one event loop."""

    _watch: TaskWatch | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody waits."""
        return self._watch is None or self._watch.idle

    async def results(self, waiter: TaskWaiter) -> AsyncGenerator[ResultMeta, None]:
        """
        Iterate over the records that *waiter* waits for, as they come.

        Raises `WaitTimeoutError` after its timeout and a last look.
        """
        watch = self.join(waiter)
        try:
            while True:
                while (seconds := watch.next_pause(waiter)) is not None:
                    await waiter.pause(seconds, watch.alarms)
                if (meta := waiter.take()) is None:
                    return
                yield meta
        finally:
            watch.leave(waiter)

    def join(self, waiter: TaskWaiter) -> TaskWatch:
        """Begin a wait. The caller ends it by `TaskWatch.leave`."""
        watch = self._watch
        if watch is None or watch.task.done():
            watch = self._watch = TaskWatch(self)
        watch.waits.join(waiter, monotonic())
        watch.wake()
        return watch

    def dismiss(self, watch: TaskWatch) -> None:
        """Let the next wait start a new watch."""
        if self._watch is watch:
            self._watch = None

    async def close(self) -> None:
        """End all waits and the task. A later wait starts a new one."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.waits.abort_all(BackendError("the result backend was closed during the wait"))
            # Before a cancellation, which asyncio may lose halfway: most often this is enough.
            watch.closed = True
            watch.wake()
            await watch.ended.sleep(AGAIN)
            watch.task.cancel()
            while not watch.task.done():
                await watch.ended.sleep(AGAIN)


class TaskWatch(Watch):
    """One life of the hub's task."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub, lock=nullcontext(), sleep=_sleep)
        self._hub = hub
        self.alarms = Alarms()
        self.ended = Latch()
        self.task = tasks.start(self._run(), name="coatcheck-hub")
        self.task.add_done_callback(self._end)

    def leave(self, waiter: TaskWaiter) -> None:
        """End the wait of *waiter*."""
        waiter.rest(self.alarms)
        self.left.append(waiter)

    def refresh(self) -> None:
        super().refresh()
        self.alarms.ring_overdue(monotonic())

    async def _run(self) -> None:
        try:
            async with self._backend.watch() as bell:
                await self._drive(self.serve(bell))
        except UNSUBSCRIBED as error:
            self.poll(error)
            await self._drive(self.serve(Bell()))

    def _end(self, task: asyncio.Task[None]) -> None:
        # Not in the task: an exception of a signal handler may strike it before its first line.
        self._hub.dismiss(self)
        if task.cancelled():
            self.waits.abort_all(BackendError("the hub's task was cancelled during the wait"))
        elif isinstance(error := task.exception(), Exception):
            self.break_down(error)
        self.ended.set()

    async def _drive(self, steps: Steps) -> None:
        """Make the calls of *steps*."""
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                call = steps.send(answer) if error is None else steps.throw(error)
            except StopIteration:
                self._hub.dismiss(self)
                return
            try:
                answer, error = call(), None
                if hasattr(answer, "__await__"):  # no call that logs has
                    answer = await answer
            except BaseException as raised:  # noqa: BLE001 - raised where the call was asked for
                answer, error = None, raised


async def _sleep(seconds: float) -> None:
    await Latch().sleep(seconds)
