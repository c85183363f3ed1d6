"""
The way to one server, or to the master of sentinels: each operation ends within its time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redis import exceptions
from redis.connection import AbstractConnection

from coatcheck.plugin import Attempts, Repeats, monotonic

from .connections import Connection, SSLConnection, UnixConnection
from .errors import is_transient, mapped
from .parser import read_by
from .pool import Pool
from .script import Command, Reply, packed
from .sentinel import MasterConnection, MasterTLSConnection
from .settings import Node, Settings

if TYPE_CHECKING:
    from .operations import Request

#: The errors that the driver raises.
ERRORS: Final = (exceptions.RedisError, OSError)


def raise_transient(replies: Iterable[object]) -> None:
    """Raise the first reply that says "not now"."""
    for reply in replies:
        if isinstance(reply, Exception) and is_transient(reply):
            raise reply


class BaseLink:
    """The base of all links, for both sides."""

    #: Whether each command must be for keys of one slot.
    sharded = False

    def __init__(self, settings: Settings) -> None:
        self.label = settings.label
        self.operation_timeout = settings.operation_timeout
        self.repeats = Repeats(
            settings.operation_timeout,
            errors=ERRORS,
            is_transient=is_transient,
            mapped=partial(mapped, label=settings.label),
        )
        #: Why waits poll; `None` while a subscription wakes them.
        self.polling: Exception | None = None

    def doubt(self, node: Node | None, error: Exception | None = None) -> None:
        """
        Note that *node* may no longer serve its keys; *error* is its answer to a subscription.
        """


class Link(BaseLink):
    """Shared by threads."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._pool = Pool(connection_class(settings), settings, **master_options(settings))

    def ask(self, request: Request) -> list[Reply]:
        """Return the replies. Errors of the server are among them, as exceptions of the driver."""
        return self.repeats.run(
            lambda attempts: self._try(request.commands, attempts), writing=request.writing
        )

    def _try(self, commands: Sequence[Command], attempts: Attempts) -> list[Reply]:
        def act(connection: AbstractConnection) -> list[Reply]:
            send(connection, commands)
            replies = receive(connection, commands, attempts.left)
            # A server that says READONLY is no longer the master: connect again, to the new one.
            raise_transient(replies)
            return replies

        return self._pool.lend(act, self._pool.patience)

    def nodes(self) -> Sequence[Node | None]:
        """Return the nodes to ask for all keys."""
        return [None]

    def locate(self, keys: Collection[str]) -> dict[Node | None, list[str]]:
        """Return the keys to subscribe to at each node. Raises the driver's errors."""
        return {None: list(keys)}

    def make_subscriber(self, node: Node | None) -> AbstractConnection:
        """Return a connection that does not belong to the pool."""
        return self._pool.make()

    def close(self) -> None:
        """Close all connections; the next command opens new ones."""
        self._pool.close()


def master_options(settings: Settings) -> dict[str, Any]:
    """Return the keyword argument that tells `MasterConnection` the sentinels."""
    return {"settings": settings} if settings.sentinel else {}


def send(connection: AbstractConnection, commands: Sequence[Command]) -> None:
    """Send *commands*. Raises the driver's errors."""
    connection.send_packed_command([packed(commands)], check_health=False)


def receive(
    connection: AbstractConnection, commands: Sequence[Command], seconds: float
) -> list[Reply]:
    """Return the replies to *commands*. Errors of the server are among them."""
    end = monotonic() + seconds
    return [_read(connection, end) for _ in commands]


def _read(connection: AbstractConnection, end: float) -> Reply:
    try:
        return read_by(connection, end)
    except exceptions.ResponseError as error:
        return error


def connection_class(settings: Settings) -> type[AbstractConnection]:
    """Return the driver's class for the connections of *settings*."""
    if settings.sentinel:
        return MasterTLSConnection if settings.tls else MasterConnection
    if settings.socket:
        return UnixConnection
    return SSLConnection if settings.tls else Connection
