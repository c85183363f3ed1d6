"""
As `pool`, for one event loop.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Pool:
    """
    As `coatcheck_redis.pool.Pool`. How long a task waits for a connection is up to the task.
    """

    def __init__(self, kind: type[Any], options: dict[str, Any], *, limit: int) -> None:
        self._kind = kind
        self._options = options
        self._free = asyncio.Semaphore(limit)
        self._idle: list[Any] = []
        self._connections: list[Any] = []

    def make(self) -> Any:
        """
        Return a connection that is not the pool's.
        """
        return self._kind(**self._options)

    async def take(self) -> Any:
        """
        Return a connection, to be given back.
        """
        await self._free.acquire()
        if self._idle:
            return self._idle.pop()
        try:
            connection = self.make()
        except BaseException:
            self._free.release()
            raise
        self._connections.append(connection)
        return connection

    def give_back(self, connection: Any, *, good: bool) -> None:
        """
        Take back a *connection*. A *good* one, of which all replies were read, is lent again.
        """
        if good:
            self._idle.append(connection)
        else:
            self._connections.remove(connection)
        self._free.release()

    async def drop_idle(self) -> None:
        """
        Close the connections that are not in use, whether or not they lead anywhere.
        """
        idle, self._idle = self._idle, []
        for connection in idle:
            self._connections.remove(connection)
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """
        Close all connections; used again, they connect again.
        """
        for connection in list(self._connections):
            await connection.disconnect()
