"""
Commands to the server: one deadline for each, and repeats within it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final

from redis import exceptions

from coatcheck.plugin import Attempts, Repeats, monotonic

from .connections import Connection, SSLConnection, UnixConnection
from .errors import is_transient, mapped
from .parser import BoundedParser, read_by
from .pool import Pool
from .script import Command, packed
from .sentinel import MasterConnection, MasterTLSConnection
from .settings import Node, Settings

#: What the driver raises.
ERRORS: Final = (exceptions.RedisError, OSError)
#: A node of a cluster; `None` where there is one server.
Place = Node | None


def raise_transient(replies: Sequence[object]) -> None:
    """
    Raise the first reply that says "not now".
    """
    for reply in replies:
        if isinstance(reply, Exception) and is_transient(reply):
            raise reply


class Line:
    """
    What the lines to one server and to a cluster have in common, for threads and for asyncio.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.repeats = Repeats(
            settings.operation_timeout,
            errors=ERRORS,
            is_transient=is_transient,
            mapped=partial(mapped, label=settings.label),
        )
        #: The error for which there is no subscription just now, so that waits look by themselves.
        self.polling: Exception | None = None


def make_pool(settings: Settings, /, **place: Any) -> Pool:
    """
    Return a pool of connections to the server at *place*. It connects when it is used.
    """
    return Pool(
        connection_class(settings),
        {**settings.connection, "parser_class": BoundedParser, **place},
        limit=settings.max_connections,
        timeout=settings.operation_timeout / 2,  # to connect takes time as well
    )


class Link(Line):
    """
    The line to one server, or to the master of sentinels. Shared by threads.
    """

    #: Whether commands have to be for keys of one slot each.
    sharded = False

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._pool = make_pool(settings, **({"settings": settings} if settings.sentinel else {}))

    def ask(self, commands: Sequence[Command], *, writing: bool, place: Place = None) -> list[Any]:
        """
        Return the replies; the server's errors among them as exceptions of the driver.
        """
        return self.repeats.run(lambda attempts: self._try(commands, attempts), writing=writing)

    def _try(self, commands: Sequence[Command], attempts: Attempts) -> list[Any]:
        def act(connection: Any) -> list[Any]:
            send(connection, commands)
            replies = receive(connection, commands, attempts.left)
            # A server that says READONLY was the master once: the next connection may be to the
            # new one.
            raise_transient(replies)
            return replies

        return self._pool.lend(act)

    def places(self) -> list[Place]:
        """
        Return where keys are, for `ask`.
        """
        return [None]

    # -- for the bell ---------------------------------------------------------------------

    def locate(self, keys: Collection[str]) -> dict[Place, list[str]]:
        """
        Return where to subscribe to *keys*.
        """
        return {None: list(keys)}

    def make_subscriber(self, place: Place) -> Any:
        """
        Return a connection that is not of the pool: its life is the bell's.
        """
        return self._pool.make()

    def doubt(self, place: Place, error: Exception | None = None) -> None:
        """
        Take in that keys are not where `locate` said, and what the server there says to it.
        """

    def close(self) -> None:
        """
        Close all connections; the next command opens new ones.
        """
        self._pool.close()


def send(connection: Any, commands: Sequence[Command]) -> None:
    """
    Send *commands*. Raises the driver's errors.
    """
    connection.send_packed_command([packed(commands)], check_health=False)


def receive(connection: Any, commands: Sequence[Command], seconds: float) -> list[Any]:
    """
    Return the replies to *commands*; the server's errors among them as exceptions of the driver.
    """
    end = monotonic() + seconds
    return [_read(connection, end) for _ in commands]


def _read(connection: Any, end: float) -> Any:
    try:
        return read_by(connection, end)
    except exceptions.ResponseError as error:
        return error


def connection_class(settings: Settings) -> type[Any]:
    """
    Return the driver's class for the connections of *settings*.
    """
    if settings.sentinel:
        return MasterTLSConnection if settings.tls else MasterConnection
    if settings.socket:
        return UnixConnection
    return SSLConnection if settings.tls else Connection
