"""
As `connections`, for asyncio.
"""

from __future__ import annotations

import math

from redis.asyncio import connection

from coatcheck.aio import lookups


class Connection(connection.Connection):
    """
    Over TCP.
    """

    async def _connect(self) -> None:
        seconds = self.socket_connect_timeout
        await lookups.addresses(self.host, self.port, math.inf if seconds is None else seconds)
        await super()._connect()


class SSLConnection(Connection, connection.SSLConnection):
    """
    The same over TLS.
    """
