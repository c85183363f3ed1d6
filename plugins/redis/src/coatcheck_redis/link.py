"""
Commands to the server: one deadline for each, and repeats within it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from redis import exceptions

from coatcheck.plugin import Attempts, monotonic, pass_on_interruption

from .connections import Connection, SSLConnection, UnixConnection
from .errors import is_transient, mapped
from .parser import BoundedParser, read_by
from .pool import Pool
from .script import Command, packed
from .sentinel import MasterConnection, MasterTLSConnection
from .settings import Node, Settings

T = TypeVar("T")
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
    What the lines to one server and to a cluster have in common: repeats, and what is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        #: The error for which an operation is being repeated just now.
        self.trouble: Exception | None = None
        #: The error for which there is no subscription just now, so that waits look by themselves.
        self.polling: Exception | None = None

    def _repeat(self, act: Callable[[Attempts], T], *, writing: bool) -> T:
        """
        Return what *act* returns, which raises the driver's errors. Raises a `BackendError`
        where no try came through.
        """
        attempts = Attempts(self._settings.operation_timeout)
        while True:
            try:
                result = act(attempts)
            except (exceptions.RedisError, OSError) as error:
                pass_on_interruption(error)
                # What befell one connection may have befallen those that were idle as long.
                self._drop_idle()
                pause = attempts.next_pause() if is_transient(error) else None
                ours = mapped(error, self._settings.label, writing=writing)
                if pause is None:
                    raise ours from error
                self.trouble = ours
            else:
                self.trouble = None
                return result
            time.sleep(pause)

    def _drop_idle(self) -> None:
        """
        Close the connections that are not in use.
        """
        raise NotImplementedError

    def _make_pool(self, **place: Any) -> Pool:
        """
        Return a pool. Nothing is connected yet.
        """
        settings = self._settings
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
        self._pool = self._make_pool(**({"settings": settings} if settings.sentinel else {}))

    def ask(self, commands: Sequence[Command], *, writing: bool, place: Place = None) -> list[Any]:
        """
        Return the replies; the server's errors among them as exceptions of the driver.
        """
        return self._repeat(lambda attempts: self._try(commands, attempts), writing=writing)

    def _try(self, commands: Sequence[Command], attempts: Attempts) -> list[Any]:
        def act(connection: Any) -> list[Any]:
            send(connection, commands)
            replies = receive(connection, commands, attempts.left)
            # A server that says READONLY was the master once: the next connection may be to the
            # new one.
            raise_transient(replies)
            return replies

        return self._pool.lend(act)

    def _drop_idle(self) -> None:
        self._pool.close()

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
