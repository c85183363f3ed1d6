"""
The connections to one server that are not in use just now, and how many there may be.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from redis import exceptions

from coatcheck import forks


class Pool:
    """
    Lends connections. Shared by threads; made anew in a forked child.

    The driver's pools ask the socket before each command whether it still works. Here that shows
    when it is used, since what fails is repeated anyway.

    Args:
        kind: the driver's class of connections, which connect by themselves when used.
        options: their keyword arguments.
        limit: how many there may be.
        timeout: how long to wait for one, in seconds.
    """

    def __init__(
        self, kind: type[Any], options: dict[str, Any], *, limit: int, timeout: float
    ) -> None:
        self._kind = kind
        self._options = options
        self._limit = limit
        self._timeout = timeout
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        self._idle: deque[Any] = deque()
        self._connections: list[Any] = []
        self._change = threading.Condition(threading.Lock())
        self._waiting = 0

    def make(self) -> Any:
        """
        Return a connection that is not the pool's.
        """
        return self._kind(**self._options)

    def take(self) -> Any:
        """
        Return a connection, to be given back. Raises the driver's error if all stay in use.
        """
        try:
            # The one used last: one that broke is the next to be tried, and connects again. Without
            # a lock, which a deque does not need.
            return self._idle.pop()
        except IndexError:
            return self._take_in_turn()

    def _take_in_turn(self) -> Any:
        deadline = time.monotonic() + self._timeout
        with self._change:
            self._waiting += 1  # before the look at what is idle, so that who gives back sees it
            try:
                while (connection := self._pick()) is None:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise exceptions.ConnectionError(
                            f"all {self._limit} connections are in use"
                        )
                    self._change.wait(left)
                return connection
            finally:
                self._waiting -= 1

    def _pick(self) -> Any | None:
        try:
            return self._idle.pop()
        except IndexError:
            if len(self._connections) >= self._limit:
                return None
            connection = self.make()
            self._connections.append(connection)
            return connection

    def give_back(self, connection: Any) -> None:
        """
        Take back a *connection*, of which all replies were read or which is closed.
        """
        self._idle.append(connection)
        if self._waiting:
            with self._change:
                self._change.notify()

    def close(self) -> None:
        """
        Close all connections; those that are used again connect again.
        """
        for connection in list(self._connections):
            connection.disconnect()
