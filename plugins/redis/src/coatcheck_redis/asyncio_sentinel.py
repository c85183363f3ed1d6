"""
As `sentinel`, for asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from redis import exceptions

from .asyncio_connections import Connection, SSLConnection
from .sentinel import check_role, master_of, no_master
from .settings import Node, Settings


class MasterConnection(Connection):
    """
    As `coatcheck_redis.sentinel.MasterConnection`.
    """

    def __init__(self, *, settings: Settings, **options: Any) -> None:
        super().__init__(**options)
        self._settings = settings

    if hasattr(Connection, "connect_check_health"):  # see coatcheck_redis.sentinel

        async def connect_check_health(self, *args: Any, **options: Any) -> None:
            await self._connect_to_master(partial(super().connect_check_health, *args, **options))

    else:

        async def connect(self) -> None:
            await self._connect_to_master(super().connect)

    async def _connect_to_master(self, connect: Callable[[], Awaitable[None]]) -> None:
        if self.is_connected:
            return
        self.host, self.port = await self._find_master()
        await connect()
        try:
            await self.send_command("ROLE", check_health=False)
            check_role(await self.read_response(), self._host_error())
        except exceptions.NoPermissionError:
            return  # then the sentinels' word is all there is
        except BaseException:
            await self.disconnect(nowait=True)
            raise

    async def _find_master(self) -> Node:
        errors: list[Exception] = []
        for place in self._settings.nodes:
            try:
                return await self._ask(place)
            except (exceptions.RedisError, OSError) as error:
                errors.append(error)
        raise no_master(errors)

    async def _ask(self, place: Node) -> Node:
        settings = self._settings
        options = {**settings.sentinel_connection, "socket_timeout": None}  # see asyncio_link
        kind = SSLConnection if settings.tls else Connection
        connection = kind(host=place[0], port=place[1], **options)
        try:
            async with asyncio.timeout(settings.sentinel_connection["socket_timeout"]):
                await connection.send_command("SENTINEL", "MASTER", settings.master_name)
                reply = await connection.read_response()
            return master_of(reply, settings.min_other_sentinels)
        finally:
            await connection.disconnect(nowait=True)


class MasterTLSConnection(MasterConnection, SSLConnection):
    """
    The same with TLS, to the sentinels too.
    """
