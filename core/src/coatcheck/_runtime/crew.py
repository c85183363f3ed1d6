"""
Threads that work for coroutines.

`ThreadPoolExecutor` does not serve: an exception that a signal handler raises in the loop's thread can leave
one of its conditions locked forever, and asyncio drops the outcome of a call if such an exception strikes the
callback that delivers it. Here the loop's thread takes no lock, and a worker reports an outcome until it was
seen.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ..errors import ThreadStartError
from .calls import Call
from .clocks import monotonic
from .interruptions import pass_on_interruption
from .latch import AGAIN, Sleeper
from .starting import start

T = TypeVar("T")


class _Job(Sleeper, Call[T]):
    """A call for a worker, and the task that waits for its outcome."""

    __slots__ = ("_future", "_loop", "_rung", "_waking", "seen")

    def __init__(self, act: Callable[[], T]) -> None:
        super().__init__(act)
        self._loop = asyncio.get_running_loop()
        self._rung = False
        #: Whether nobody waits for the outcome any longer.
        self.seen = False

    def do(self) -> None:
        """Make the call and report the outcome, unless nobody waits."""
        if not self.seen:
            super().do()
            self.report()

    def report(self) -> None:
        """Wake the task that waits. For any thread."""
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self.ring)

    def leave(self) -> None:
        """Let go of the outcome."""
        self.seen = True
        self.wake_up()
        self._result = None  # type: ignore[assignment]


class _Last:
    """A call that nobody waits for."""

    seen = True

    def __init__(self, act: Callable[[], object]) -> None:
        self.do = act


_Jobs = SimpleQueue["_Job[Any] | _Last | None"]


class Crew:
    """
    A few daemon threads, shared by loops. They start with the calls, and end when this object is dropped.

    Args:
        most: the number of threads. Further calls wait for their turn.
        name: the name of each thread.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._jobs: _Jobs = SimpleQueue()
        # An entry for each thread that waits for a call, and one for each that may yet start.
        self._free: deque[None] = deque()
        self._places: deque[None] = deque([None] * most)
        weakref.finalize(self, self._jobs.put, None).atexit = False

    async def run(self, act: Callable[[], T]) -> T:
        """
        Return the result of *act*, called in a thread. Raises `ThreadStartError` if no thread can start.

        A cancelled caller leaves at once. Then *act* runs to its end, or does not begin.
        """
        job = _Job(act)
        try:
            done = job.fall_asleep()
            self._put(job)
            await done
            return job.outcome()
        finally:
            job.leave()

    def end(self, act: Callable[[], object]) -> None:
        """
        Call *act* in a thread after all other calls, without waiting, and end the threads.

        Takes no lock: the garbage collector may call this in the middle of anything.
        """
        self._jobs.put(_Last(act))
        self._jobs.put(None)

    def _put(self, job: _Job[Any]) -> None:
        try:
            self._free.pop()
        except IndexError as error:
            pass_on_interruption(error)
            self._grow()
        self._jobs.put(job)

    def _grow(self) -> None:
        """Start a thread, if another one is allowed. Raises `ThreadStartError` if none runs."""
        try:
            self._places.pop()
        except IndexError as error:
            pass_on_interruption(error)
            return
        worker = _Worker(self._jobs, self._free)
        try:
            start(threading.Thread(target=worker.run, name=self._name, daemon=True))
        except ThreadStartError:
            self._places.append(None)
            if len(self._places) == self._most:
                raise


class _Worker:
    """The work of one thread."""

    def __init__(self, jobs: _Jobs, free: deque[None]) -> None:
        self._jobs = jobs
        self._free = free
        # Calls whose outcome was reported, although the report may be lost.
        self._unseen: list[_Job[Any] | _Last] = []
        self._reported = monotonic()
        self._pause = AGAIN

    def run(self) -> None:
        """Do jobs until there are no more."""
        while (job := self._next()) is not None:
            job.do()
            if monotonic() - self._reported > AGAIN:
                self._report_again()
            self._unseen.append(job)
            del job
        self._jobs.put(None)  # for the next thread

    def _next(self) -> _Job[Any] | _Last | None:
        if self._jobs.empty():
            self._free.append(None)
        self._pause = AGAIN
        while True:
            try:
                return self._jobs.get(timeout=self._pause if self._unseen else None)
            except Empty:
                self._report_again()
                self._pause *= 2  # the loop may have stopped

    def _report_again(self) -> None:
        self._reported = monotonic()
        self._unseen = [job for job in self._unseen if not job.seen]
        for job in self._unseen:
            if isinstance(job, _Job):
                job.report()
