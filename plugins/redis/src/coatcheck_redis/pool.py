"""
The connections to one server that are not in use just now, and how many there may be.
"""

from __future__ import annotations

import threading
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
        self._free = threading.Semaphore(self._limit)
        self._idle: deque[Any] = deque()
        self._connections: list[Any] = []

    def make(self) -> Any:
        """
        Return a connection that is not the pool's.
        """
        return self._kind(**self._options)

    def take(self) -> Any:
        """
        Return a connection, to be given back. Raises the driver's error if all stay in use.
        """
        if not self._free.acquire(timeout=self._timeout):
            raise exceptions.ConnectionError(f"all {self._limit} connections are in use")
        try:
            # The one used last: one that broke is the next to be tried, and connects again.
            return self._idle.pop()
        except IndexError:
            return self._another()

    def _another(self) -> Any:
        try:
            connection = self.make()
        except BaseException:
            self._free.release()
            raise
        self._connections.append(connection)
        return connection

    def give_back(self, connection: Any) -> None:
        """
        Take back a *connection*, of which all replies were read or which is closed.
        """
        self._idle.append(connection)
        self._free.release()

    def close(self) -> None:
        """
        Close all connections; those that are used again connect again.
        """
        for connection in list(self._connections):
            connection.disconnect()
