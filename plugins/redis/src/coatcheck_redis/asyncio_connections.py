"""
As `connections`, for asyncio.
"""

from __future__ import annotations

import math
from typing import Any, Final

from redis import exceptions
from redis.asyncio import connection

from coatcheck.aio.plugin import lookups

from .connections import texts
from .parser import ERRORS


class _Parser(connection.DefaultParser):  # type: ignore[misc, valid-type] # chosen when imported
    EXCEPTION_CLASSES: Final = {**connection.DefaultParser.EXCEPTION_CLASSES, **ERRORS}


class _Connection(connection.AbstractConnection):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{"parser_class": _Parser, **options})

    async def send_command(self, *args: Any, **options: Any) -> None:
        await super().send_command(*texts(args), **options)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - as the driver's
        # From Python 3.12 on, writing lines to a lost transport raises AttributeError: "'NoneType' object
        # has no attribute '_add_writer'".
        if self._writer is not None and self._writer.transport.is_closing():
            raise exceptions.ConnectionError("the connection was lost")
        await super().send_packed_command(command, check_health)


class UnixConnection(_Connection, connection.UnixDomainSocketConnection):
    """To a unix socket."""


class Connection(_Connection, connection.Connection):
    """Over TCP."""

    async def _connect(self) -> None:
        seconds = self.socket_connect_timeout
        await lookups.addresses(self.host, self.port, math.inf if seconds is None else seconds)
        await super()._connect()


class SSLConnection(Connection, connection.SSLConnection):
    """Over TLS."""
