"""
The connections to one server that are not in use just now, and how many there may be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from coatcheck.plugin import Pool as Lender
from coatcheck.plugin import forks

T = TypeVar("T")


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
        self._timeout = timeout
        self._pool: Lender[Any] = Lender(self.make, _disconnect, limit=limit)
        forks.register(self)

    def after_fork(self) -> None:
        self._pool.after_fork()

    def make(self) -> Any:
        """
        Return a connection that is not the pool's.
        """
        return self._kind(**self._options)

    def lend(self, act: Callable[[Any], T]) -> T:
        """
        Return what *act* returns, which is called with a connection and reads all replies. Raises
        `OSError` if all connections stay in use.
        """
        return self._pool.lend(act, self._timeout)

    def close(self) -> None:
        """
        Close all connections, those in use when they come back.
        """
        self._pool.close()


def _disconnect(connection: Any) -> None:
    connection.disconnect()
