"""
An event loop in a thread of its own, where synchronous code has coroutines run.

A process has one such loop while anybody holds a `Loop`. It ends with the last of them, and so does
everything that was opened on it. A forked child starts a loop of its own.

A call into the loop is one `append` and one `write`, both in C. `call_soon_threadsafe` does not serve:
it swallows an `OSError`, and so the `TimeoutError` that a signal handler may raise inside of it.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from ..errors import ThreadStartError
from . import forks, tasks
from .alarm import Alarm
from .clocks import monotonic
from .starting import start

T = TypeVar("T")

#: The end of the loop waits this many seconds for calls that still run.
PATIENCE: Final = 1.0
#: The number of wake-ups that one read takes.
_WAKES: Final = 4096
#: Threads that a fork copied. Their loops belong to the parent, which must not hear that they are
#: collected.
_INHERITED: Final[list[Any]] = []


class HonestLoop(asyncio.SelectorEventLoop):
    """A loop by a clock that no test can stop, whichever loop the application's policy makes."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        try:
            super().__init__(selector)
        except OSError:  # no descriptors for its own pipe: it would warn that it is not closed
            asyncio.BaseEventLoop.close(self)
            selector.close()
            raise

    def time(self) -> float:
        """Return the time that the loop's timers go by."""
        return monotonic()


def _honest_loop() -> HonestLoop:
    return HonestLoop(selectors.DefaultSelector())


class Call(Generic[T]):
    """
    A coroutine that runs on the loop, and the thread that waits for it.

    Args:
        act: returns the coroutine. Called on the loop.
        under_way: the calls of the loop, this one included while it runs.
    """

    def __init__(
        self, act: Callable[[], Coroutine[Any, Any, T]], under_way: set[Call[Any]]
    ) -> None:
        self._act = act
        self._under_way = under_way
        self.task: asyncio.Task[None] | None = None
        self._woken = Alarm()
        self._results: list[T] = []
        self._errors: list[BaseException] = []

    @property
    def is_over(self) -> bool:
        """Whether the coroutine returned or raised."""
        return bool(self._results or self._errors)

    def begin(self) -> None:
        """Start the coroutine. Runs on the loop."""
        self._under_way.add(self)
        self.task = tasks.start(self._run())

    def cancel(self) -> None:
        """Cancel the coroutine if it still runs. Runs on the loop."""
        if self.task is not None:
            self.task.cancel()

    async def _run(self) -> None:
        try:
            self._results.append(await self._act())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._errors.append(error)
        finally:
            # Freed here and not in the thread that waits: asyncio clears up behind a task in Python,
            # where an exception of a signal handler would be lost.
            self.task = None
            self._under_way.discard(self)
            self.ring()

    def ring(self) -> None:
        """Wake the thread that waits. The end of the coroutine does."""
        self._woken.ring()

    def sleep(self) -> None:
        """Wait for `ring`."""
        self._woken.sleep(threading.TIMEOUT_MAX)

    def answer(self) -> T:
        """Return the result of the coroutine, or raise its exception. Once, after its end."""
        if self._errors:
            raise self._errors.pop()
        return self._results[0]


class LoopThread:
    """The thread, and the calls that it is asked to make."""

    def __init__(self) -> None:
        self.under_way: set[Call[Any]] = set()
        self._thread = threading.Thread(target=self._serve, name="coatcheck-loop", daemon=True)
        #: The calls to make on the loop, in this order.
        self._asked: deque[Callable[[], object]] = deque()
        #: The end of a pipe. A byte written to it wakes the loop.
        self._wakes: int | None = None
        self._begun = Alarm()
        self._ending = asyncio.Event()
        self._is_stopping = False
        self._error: Exception | None = None

    def start(self) -> None:
        """Start the thread. Raises `ThreadStartError` where it, or its loop, cannot be had."""
        start(self._thread)
        self._begun.sleep(threading.TIMEOUT_MAX)
        if self._error is not None:  # such as no free descriptor
            self._thread.join(PATIENCE)
            raise ThreadStartError(self._thread.name, self._error) from self._error

    def ask(self, act: Callable[[], object]) -> None:
        """Have *act* called on the loop. For any thread, and for signal handlers."""
        self._asked.append(act)
        if self._wakes is not None:
            os.write(self._wakes, b"!")

    def stop(self, _ref: object = None) -> None:
        """End the loop after all that it was asked before. For any thread, and for finalizers."""
        self._is_stopping = True
        self.ask(self._ending.set)

    def join(self) -> None:
        """Wait until the thread has ended, `PATIENCE` seconds at most; not at all if it goes on."""
        if self._is_stopping and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE)

    # -- in the thread --------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_honest_loop) as runner:
                runner.run(self._main())
        except Exception as error:  # noqa: BLE001 - raised where the thread was started
            self._error = error
        finally:
            LOOPS.threads.discard(self)
            self._begun.ring()

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        reading, wakes = os.pipe()
        self._wakes = wakes
        try:
            loop.add_reader(reading, self._hear, loop, reading)
            self._begun.ring()
            await self._ending.wait()
            if left := [call.task for call in self.under_way if call.task is not None]:
                await asyncio.wait(left, timeout=PATIENCE)
        finally:
            loop.remove_reader(reading)
            os.close(reading)
            self._wakes = None  # first: another file may get the number, and must not be written to
            os.close(wakes)

    def _hear(self, loop: asyncio.AbstractEventLoop, reading: int) -> None:
        os.read(reading, _WAKES)
        while self._asked:
            loop.call_soon(self._asked.popleft())


class Loop:
    """A share in the loop of this process, which runs for as long as somebody holds one."""

    def __init__(self, thread: LoopThread) -> None:
        self.thread = thread

    def run(self, act: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """
        Run the coroutine that *act* returns on the loop, and return its result.

        An exception of a signal handler ends the wait and cancels the coroutine.
        """
        call = self.call(act)
        try:
            self.tell(call.begin)
            call.sleep()
        finally:
            if not call.is_over:
                self.tell(call.cancel)
        return call.answer()

    def call(self, act: Callable[[], Coroutine[Any, Any, T]]) -> Call[T]:
        """Return a call of *act*, to be begun on the loop."""
        return Call(act, self.thread.under_way)

    def tell(self, act: Callable[[], object]) -> None:
        """
        Have *act* called on the loop, without waiting. For any thread, and for signal handlers.
        """
        self.thread.ask(act)


class Loops:
    """The loop of this process. Shared by threads; made anew in a forked child."""

    def __init__(self) -> None:
        self._forget()
        forks.register(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._loop: Callable[[], Loop | None] = _nobody
        #: Those that run: a forked child keeps them, see `_INHERITED`.
        self.threads: set[LoopThread] = set()

    def after_fork(self) -> None:
        _INHERITED.append(self.threads)
        self._forget()

    def share(self) -> Loop:
        """
        Return a share in the loop, which is started if nobody has one. Raises `ThreadStartError`.
        """
        forks.check()
        with self._lock:
            loop = self._loop()
            return self._started() if loop is None else loop

    def _started(self) -> Loop:
        thread = LoopThread()
        try:
            self.threads.add(thread)
            thread.start()
            loop = Loop(thread)
            self._loop = weakref.ref(loop, thread.stop)
        except BaseException:  # also where a signal handler raised: the thread may run all the same
            self._loop = _nobody
            thread.stop()
            raise
        return loop


def _nobody() -> None:
    """Refer to nothing, like a dead weak reference."""


LOOPS: Final = Loops()
