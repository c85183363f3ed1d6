"""
The connections to one server.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TypeVar

from coatcheck.plugin import Pool as Lender
from coatcheck.plugin import forks, monotonic

from .connection import Connection
from .settings import Address, Settings, label_of

T = TypeVar("T")


class Pool:
    """
    Lends connections to one server. Shared by threads; made anew in a forked child.

    Args:
        on_limit: called when the server tells a new limit for values.
    """

    def __init__(
        self, address: Address, settings: Settings, on_limit: Callable[[], object]
    ) -> None:
        self._address = address
        self._on_limit = on_limit
        self.label = label_of(address)
        #: Whether the last operation gave up on the server.
        self.is_down = False
        #: The largest value that the server takes, in bytes; `None` if it did not tell.
        self.max_value_bytes: int | None = None
        self._settings = settings
        self._made: set[weakref.ref[Connection]] = set()
        self._pool = Lender(self._make, Connection.close, limit=settings.max_connections)
        forks.register(self)

    def after_fork(self) -> None:
        # Otherwise the server would not see that the parent closes a connection: the child has a copy.
        for made in list(self._made):
            connection = made()
            if connection is not None:
                connection.close()
        self._made = set()
        self._pool.after_fork()

    def _make(self) -> Connection:
        connection = Connection(self._address, self._settings)
        self._made.add(weakref.ref(connection, self._made.discard))
        return connection

    def lend(self, act: Callable[[Connection], T], end: float) -> T:
        """
        Call *act*, which reads all replies, with a connection that keeps to *end*, and return its value.
        Raises `OSError` if all connections stay in use until then.
        """

        def begin(connection: Connection) -> T:
            connection.begin(end)
            limit = connection.max_value_bytes
            if limit is not None and limit != self.max_value_bytes:
                self.max_value_bytes = limit
                self._on_limit()
            return act(connection)

        return self._pool.lend(begin, end - monotonic())

    def close(self) -> None:
        """Close all connections. Those in use follow when they come back."""
        self._pool.close()
