"""
The connections to one server that are not in use just now, and how many there may be.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from coatcheck import forks

from .connection import Connection
from .settings import Place, Settings, label_of


class Pool:
    """
    Lends connections to one server. Shared by threads; made anew in a forked child.

    Args:
        on_limit: called when the server says how large a value may be, and it is news.
    """

    def __init__(
        self, place: Place, settings: Settings, on_limit: Callable[[], object] = bool
    ) -> None:
        self.place = place
        self._on_limit = on_limit
        self.label = label_of(place)
        #: Whether the last operation gave up on the server.
        self.is_down = False
        #: The largest value that the server takes, in bytes, as far as it said so.
        self.max_value_bytes: int | None = None
        self._settings = settings
        self._made: list[Connection] = []
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        # The child's copies would keep the server from seeing what the parent closes.
        for connection in self._made:
            connection.close()
        self._made = []
        self._idle: deque[Connection] = deque()
        self._freed = threading.Condition()
        self._waiting = 0
        self._generation = 0

    def take(self, end: float) -> Connection:
        """
        Return a connection, to be given back. Raises `OSError` if all stay in use until *end*.
        """
        try:
            # The one used last: one that broke is the next to be tried, and connects again.
            return self._idle.pop()
        except IndexError:
            return self._take_slowly(end)

    def _take_slowly(self, end: float) -> Connection:
        with self._freed:
            # Set before looking again: whoever gives back from here on notifies.
            self._waiting += 1
            try:
                while True:
                    with suppress(IndexError):
                        return self._idle.pop()
                    if len(self._made) < self._settings.max_connections:
                        return self._another()
                    left = end - time.monotonic()
                    if left <= 0:
                        raise TimeoutError(f"all {len(self._made)} connections are in use")
                    self._freed.wait(left)
            finally:
                self._waiting -= 1

    def _another(self) -> Connection:
        connection = Connection(self.place, self._settings)
        connection.generation = self._generation
        self._made.append(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """
        Take back a *connection*, of which all replies were read or which is closed.
        """
        if connection.generation != self._generation:
            connection.close()
            connection.generation = self._generation
        if connection.max_value_bytes != self.max_value_bytes:
            self._learn(connection.max_value_bytes)
        self._idle.append(connection)
        if self._waiting:
            with self._freed:
                self._freed.notify()

    def _learn(self, limit: int | None) -> None:
        # Of what has not been connected yet nothing is known.
        if limit is not None:
            self.max_value_bytes = limit
            self._on_limit()

    def close(self) -> None:
        """
        Close all connections: those in use when they come back. All connect again when used.
        """
        self._generation += 1
        taken = []
        with suppress(IndexError):
            while True:
                taken.append(self._idle.pop())
        for connection in taken:
            self.give_back(connection)
