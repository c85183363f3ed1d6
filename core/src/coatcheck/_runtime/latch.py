"""
Wake-ups for tasks that no exception of a signal handler can lose.

asyncio logs and drops an exception that a handler raises inside a callback. The rest of that callback is
lost. Even `Future.set_result` is not safe there: it marks the future as done and then schedules the task
by `call_soon`, which is written in Python. An exception between the two leaves a task that never wakes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

#: The loop may lose one of two timers. The second one comes this many seconds later.
AGAIN: Final = 0.05

#: A task's own wake-up, an iterator that calls it once, and the context of the task.
Waking = tuple[Callable[[Any], object], Iterator[object], Context]


class Sleeper:
    """
    Something that one task sleeps on.

    `ring` can be repeated: a further call completes a call that was cut short, and otherwise does nothing.
    Subclasses declare the three attributes as slots.
    """

    if not TYPE_CHECKING:  # mypy allows no attributes without slots of their own
        __slots__ = ()

    _future: asyncio.Future[None] | None
    _waking: Waking | None
    _rung: bool

    def fall_asleep(self) -> asyncio.Future[None]:
        """Return a future for one task to await: until `ring`, which may have come before."""
        self._waking = None
        self._future = future = asyncio.get_running_loop().create_future()
        if self._rung:
            future.set_result(None)  # nobody awaits it yet, so there is nothing to schedule
            self._rung = False
        return future

    def wake_up(self) -> None:
        """Forget the sleep that ended."""
        self._future = self._waking = None

    def ring(self) -> None:
        """End the sleep that goes on, or else the next one. For the loop's thread."""
        future = self._future
        if future is None:
            self._rung = True
            return
        if self._waking is None:
            # The task's wake-up is taken from the future, and a handle of the loop calls it instead. That
            # is C code only. The iterator calls it once, however often it is scheduled.
            if future.done():
                return
            callbacks = future._callbacks  # noqa: SLF001
            if not callbacks:  # its task has yet to await it
                future.set_result(None)
                return
            wakeup, context = callbacks[0]
            self._waking = wakeup, map(wakeup, (future,)), context
        wakeup, steps, context = self._waking
        future.remove_done_callback(wakeup)
        if not future.done():
            future.set_result(None)
        future.get_loop().call_soon(next, steps, None, context=context)


class Latch(Sleeper):
    """Wakes the one task that sleeps on it. A `set` before the sleep ends the sleep."""

    __slots__ = ("_future", "_rung", "_waking")

    def __init__(self) -> None:
        self._rung = False
        self.wake_up()

    def set(self) -> None:
        """End the sleep that goes on, or else the next one. For the loop's thread."""
        self.ring()

    def is_set(self) -> bool:
        """Whether the next sleep ends at once."""
        return self._rung

    def clear(self) -> None:
        """Take back a `set`."""
        self._rung = False

    async def sleep(self, seconds: float) -> None:
        """Sleep until `set`, at most *seconds*. Give other tasks a turn in any case."""
        timers = []
        try:
            if self._rung or seconds <= 0:
                await asyncio.sleep(0)
            else:
                future = self.fall_asleep()
                if seconds < math.inf:
                    later = future.get_loop().call_later
                    timers = [later(after, self.ring) for after in (seconds, seconds + AGAIN)]
                await future
        finally:
            for timer in timers:
                timer.cancel()
            self.wake_up()
            self._rung = False
