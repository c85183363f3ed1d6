"""
As `sentinel`, for asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from redis import exceptions

from coatcheck.plugin import adrive

from .asyncio_connections import Connection, SSLConnection
from .script import Reply
from .sentinel import check_role, finding_master
from .settings import Node, Settings


class MasterConnection(Connection):
    """As `coatcheck_redis.sentinel.MasterConnection`."""

    def __init__(self, *, settings: Settings, **options: Any) -> None:
        super().__init__(**options)
        self._settings = settings

    if hasattr(Connection, "connect_check_health"):  # see `sentinel.CHECKS_HEALTH`

        async def connect_check_health(self, *args: Any, **options: Any) -> None:
            await self._connect_to_master(partial(super().connect_check_health, *args, **options))

    else:

        async def connect(self) -> None:
            await self._connect_to_master(super().connect)

    async def _connect_to_master(self, connect: Callable[[], Awaitable[None]]) -> None:
        if self.is_connected:
            return
        self.host, self.port = await adrive(finding_master(self._settings), self._ask)
        await connect()
        try:
            await self.send_command("ROLE", check_health=False)
            check_role(await self.read_response(), self._host_error())
        except exceptions.NoPermissionError:
            return  # then the sentinels' word must do
        except BaseException:
            await self.disconnect(nowait=True)
            raise

    async def _ask(self, sentinel: Node) -> Reply:
        settings = self._settings
        options = {**settings.sentinel_connection, "socket_timeout": None}  # see `asyncio_pool`
        kind = SSLConnection if settings.tls else Connection
        connection = kind(host=sentinel[0], port=sentinel[1], **options)
        try:
            async with asyncio.timeout(settings.sentinel_connection["socket_timeout"]):
                await connection.send_command("SENTINEL", "MASTER", settings.master_name)
                return await connection.read_response()
        except (exceptions.RedisError, OSError) as error:
            return error
        finally:
            await connection.disconnect(nowait=True)


class MasterTLSConnection(MasterConnection, SSLConnection):
    """The same with TLS, to the sentinels too."""
