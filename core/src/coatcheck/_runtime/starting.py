"""
Calls that no signal handler interrupts: starting threads completely or not at all, and calls of drivers
whose locks an exception of a handler would leave locked forever.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from ..errors import ThreadStartError
from . import forks
from .alarm import Alarm
from .calls import Call
from .interruptions import pass_on_interruption

T = TypeVar("T")

#: How long an idle thread stays, in seconds.
LINGER: Final = 1.0
#: Whether gevent or eventlet patched this process. Its threads are greenlets of the main thread then, where
#: handlers run as well, so handing over protects nothing.
_PATCHED: Final = SimpleQueue.__module__ != "_queue"


def start(thread: threading.Thread) -> None:
    """
    Start *thread*. Raises `ThreadStartError` where the system allows no more of them.

    Store a thread for others only after this returns: joining a thread that did not start fails. If a signal
    handler raises meanwhile, the new thread may still run.
    """
    try:
        undisturbed(thread.start)
    except (RuntimeError, MemoryError) as error:
        pass_on_interruption(error)
        raise ThreadStartError(thread.name, error) from error


def undisturbed(act: Callable[[], T]) -> T:
    """
    Call *act* where no signal handler can interrupt it and return its value: in another thread, because
    handlers run in the main thread only. If a handler raises meanwhile, *act* still runs to its end.
    Context variables have the caller's values. Threads other than the main thread call *act* directly.

    Use it for calls that such an exception would break. `Thread.start` would leave a thread that waits
    forever for its own start, and a `threading.Condition` stays locked. If the system allows no other
    thread, as at the end of the interpreter, the main thread calls *act* directly as well, and so do
    processes that gevent or eventlet patched.
    """
    if _PATCHED or threading.get_ident() != threading.main_thread().ident:
        return act()
    job = _Job(partial(copy_context().run, act))
    forks.check()
    _helpers.hand_over(job)
    job.done.sleep(threading.TIMEOUT_MAX)
    return job.outcome()


class _Job(Call[T]):
    """A call that the main thread hands over."""

    __slots__ = ("done",)

    def __init__(self, act: Callable[[], T]) -> None:
        super().__init__(act)
        self.done = Alarm()


class _Inbox(SimpleQueue[_Job[Any] | None]):
    """The jobs of one thread; `None` ends it."""

    def __init__(self) -> None:
        self.thread = threading.current_thread()


class _Helpers:
    """
    Threads that do jobs for the main thread. One idle thread stays for a second. There are more while
    interrupted calls still run.
    """

    def __init__(self) -> None:
        self.after_fork()
        forks.register_quiescent(self)

    def before_fork(self) -> None:
        """End the idle threads: Python warns if a process with threads forks."""
        while self._idle:
            inbox = self._idle.pop()
            inbox.put(None)
            inbox.thread.join()

    def after_fork_in_parent(self) -> None:
        """Do nothing: the next job starts a thread."""

    def after_fork(self) -> None:
        """Forget the parent's threads."""
        self._idle: list[_Inbox] = []

    def hand_over(self, job: _Job[Any]) -> None:
        """Give *job* to an idle thread, or to a new one."""
        try:
            # A single call into C: whichever thread is taken from the list gets the job, even if a
            # handler raises.
            next(map(SimpleQueue.put, iter(self._idle.pop, None), (job,)))
        except IndexError as error:
            pass_on_interruption(error)
            self._begin(job)

    def _begin(self, job: _Job[Any]) -> None:
        try:
            # This thread only starts another one: `Thread.start` itself must not be interrupted.
            _thread.start_new_thread(self._start, (job,))
        except RuntimeError as error:
            pass_on_interruption(error)
            job.do()
            job.done.ring()

    def _start(self, job: _Job[Any]) -> None:
        try:
            name = "coatcheck-undisturbed"
            threading.Thread(target=self._run, args=(job,), name=name, daemon=True).start()
        except (RuntimeError, MemoryError):
            job.do()
            job.done.ring()

    def _run(self, job: _Job[Any]) -> None:
        # Nested on purpose: freezegun gives the real time to code that is called from `threading` within
        # five frames, and a driver that counts a deadline must not see both times.
        self._serve(job)

    def _serve(self, job: _Job[Any] | None) -> None:
        inbox = _Inbox()
        while job is not None:
            job.do()
            stays = not self._idle
            if stays:
                # Before the ring, so that the next job finds this thread.
                self._idle.append(inbox)
            job.done.ring()
            del job  # and its result
            job = self._next(inbox) if stays else None

    def _next(self, inbox: _Inbox) -> _Job[Any] | None:
        try:
            return inbox.get(timeout=LINGER)
        except Empty:
            try:
                self._idle.remove(inbox)
            except ValueError:  # it was taken from the list, so there is a job
                return inbox.get()
            return None


_helpers: Final = _Helpers()
