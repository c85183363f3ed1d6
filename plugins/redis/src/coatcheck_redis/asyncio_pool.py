"""
As `pool`, for one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from .script import Command, Reply, packed
from .settings import Settings


class Pool:
    """Connections of the driver's class *kind*. A task waits for one as long as the task may."""

    def __init__(
        self, kind: type[AbstractConnection], settings: Settings, /, **options: Any
    ) -> None:
        self._kind = kind
        # `asyncio.timeout` bounds all operations. With a timeout of the socket's, the driver takes a task
        # for each command, and sends in a way that swallows cancellations on Python 3.11.
        self._options = {**settings.connection, "socket_timeout": None, **options}
        self._free = asyncio.Semaphore(settings.max_connections)
        self._idle: list[AbstractConnection] = []
        self._connections: list[AbstractConnection] = []

    def make(self) -> AbstractConnection:
        """Return a connection that does not belong to the pool."""
        return self._kind(**self._options)

    async def exchange(
        self,
        commands: Sequence[Command],
        *,
        check: Callable[[list[Reply]], object] | None = None,
    ) -> list[Reply]:
        """
        Send *commands* and return the replies. Errors of the server are among them. The connection is
        closed if *check*, which is called with the replies, raises.
        """
        connection = await self._take()
        good = False
        try:
            await connection.send_packed_command([packed(commands)], check_health=False)
            replies = [await _read(connection) for _ in commands]
            if check is not None:
                check(replies)
            good = True
        except BaseException:
            # Replies that were not read would answer the next command.
            await connection.disconnect(nowait=True)
            raise
        finally:
            self._give_back(connection, good=good)
        return replies

    async def _take(self) -> AbstractConnection:
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

    def _give_back(self, connection: AbstractConnection, *, good: bool) -> None:
        if good:
            self._idle.append(connection)
        else:
            self._connections.remove(connection)
        self._free.release()

    async def drop_idle(self) -> None:
        """Close the connections that are not in use."""
        idle, self._idle = self._idle, []
        for connection in idle:
            self._connections.remove(connection)
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close all connections; used again, they connect again."""
        for connection in list(self._connections):
            await connection.disconnect()


async def _read(connection: AbstractConnection) -> Reply:
    try:
        return await connection.read_response()
    except exceptions.ResponseError as error:
        return error
