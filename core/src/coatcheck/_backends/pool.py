"""
Turns and pooled connections, of which none is lost wherever a signal handler raises.

An exception of a handler comes at the beginning of a function written in Python, or after a call of one
written in C. So a `finally` that calls a function of ours may be broken off before that function does
anything, and what a call returned may be lost before it has a name. Here one call into C takes a turn
and notes that it is taken, and one call into C in a `finally` gives it back.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import starmap
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar

from .._runtime import forks
from .._runtime.clocks import monotonic
from .._runtime.interruptions import pass_on_interruption

C = TypeVar("C")
T = TypeVar("T")

#: For `starmap`: call once, without arguments.
_ONCE: Final = ((),)


class BusyError(TimeoutError):
    """All connections, or all turns, stayed in use for as long as the caller could wait."""


class Turns:
    """
    Lets at most *number* callers work at the same time. Shared by threads. The owner registers with `forks`.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew: the callers at work are in the parent."""
        #: The turns that are free. No semaphore: that is written in Python, and takes a tenth of an
        #: SQLite store.
        self.free: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._number):
            self.free.put(None)
        self._resting: list[None] = []

    @property
    def are_taken(self) -> bool:
        """Whether somebody is at work, or was when this process was forked."""
        return self.free.qsize() + len(self._resting) < self._number

    def during(self, act: Callable[[], T], seconds: float) -> T:
        """
        Call *act* in a turn and return its value. Raises `BusyError` after *seconds* without a turn.
        """
        free = self.free
        held: list[None] = []
        try:
            self.take(held, seconds)
            return act()
        finally:
            if held:
                free.put(None)

    def take(self, held: list[None], seconds: float) -> None:
        """
        Take a turn and note it in *held*. The caller puts it back into `free`. Raises `BusyError` after
        *seconds*.
        """
        try:
            held.extend(starmap(self.free.get_nowait, _ONCE))  # which looks at no clock
        except Empty:
            self._wait(held, seconds)

    def _wait(self, held: list[None], seconds: float) -> None:
        try:
            held.extend(starmap(self.free.get, ((True, max(seconds, 0.0)),)))
        except Empty:
            raise BusyError(f"all {self._number} connections are in use") from None

    def rest(self, seconds: float) -> None:
        """Wait until nobody is at work, at most *seconds*, and give no turns until `resume`."""
        deadline = monotonic() + seconds
        try:
            while len(self._resting) < self._number:
                self.take(self._resting, deadline - monotonic())
        except BusyError:
            return  # whoever takes longer than an operation may is left behind

    def resume(self) -> None:
        """Give turns again."""
        while self._resting:
            self.free.put(self._resting.pop())


class Pool(Generic[C]):
    """
    Lends connections. Shared by threads. Its owner registers with `forks`.

    Args:
        make: returns a new connection.
        dispose: closes a connection that is not used again.
        limit: the largest number of connections.
        leave: receives the parent's idle connections in a forked child, and keeps them if closing them there
            would end the parent's sessions. By default they are dropped.
    """

    def __init__(
        self,
        make: Callable[[], C],
        dispose: Callable[[C], object],
        *,
        limit: int,
        leave: Callable[[list[C]], object] | None = None,
    ) -> None:
        self._make = make
        self._dispose = dispose
        self._leave = leave
        self._idle: list[C] = []
        #: Each connection in use holds one of them.
        self.turns: Turns = Turns(limit)
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew: the connections belong to the parent."""
        if self._leave is not None:
            self._leave(self._idle)
        self.turns.after_fork()
        self._idle = []

    def lend(self, act: Callable[[C], T], seconds: float) -> T:
        """
        Call *act* with a connection, preferably the one used last, and return its value. Raises `BusyError`
        after *seconds* without a free connection.

        When *act* raises, the connection is disposed of, because a reply may be on its way. So are
        those that are idle: what befell one may have befallen them.
        """
        # As `Turns.during`, in one function: each call is a part of a round trip.
        forks.check()
        free, idle = self.turns.free, self._idle
        held: list[None] = []
        connection: C | None = None
        try:
            self.turns.take(held, seconds)
            try:
                connection = idle.pop()
            except IndexError:
                connection = self._make()
            result = act(connection)
            if idle is self._idle:
                lent, connection = connection, None
                idle.append(lent)
            else:  # closed meanwhile
                self._dispose(connection)
        except BaseException as error:
            if connection is not None:
                self._dispose(connection)
            pass_on_interruption(error)
            self.close()
            raise
        finally:
            if held:
                free.put(None)
        return result

    def close(self) -> None:
        """Dispose of all connections. Those in use follow when they come back."""
        forks.check()
        idle, self._idle = self._idle, []
        for connection in idle:
            self._dispose(connection)
