"""
The connections to one server.
"""

from __future__ import annotations

from typing import Any

from redis.connection import AbstractConnection

from coatcheck.plugin import Pool as BasePool
from coatcheck.plugin import forks

from .parser import BoundedParser
from .settings import Settings


class Pool(BasePool[AbstractConnection]):
    """
    Connections of the driver's class *kind*, which connect when they are used.

    The driver's pools ask the socket before each command whether it still works. This one does not: a
    lost connection shows when it is used, and the command is repeated anyway.
    """

    def __init__(
        self, kind: type[AbstractConnection], settings: Settings, /, **options: Any
    ) -> None:
        self._kind = kind
        self._options = {**settings.connection, "parser_class": BoundedParser, **options}
        #: Seconds to wait for a free connection. Connecting takes time as well.
        self.patience = settings.operation_timeout / 2
        super().__init__(self.make, _disconnect, limit=settings.max_connections)
        forks.register(self)

    def make(self) -> AbstractConnection:
        """Return a connection that does not belong to the pool."""
        return self._kind(**self._options)


def _disconnect(connection: AbstractConnection) -> None:
    connection.disconnect()
