"""
As `link`, for one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from redis import exceptions

from coatcheck import BackendError
from coatcheck.plugin import Attempts, pass_on_interruption

from .asyncio_connections import Connection, SSLConnection, UnixConnection
from .asyncio_pipeline import AutoPipeline
from .asyncio_pool import Pool
from .asyncio_sentinel import MasterConnection, MasterTLSConnection
from .errors import mapped
from .link import ERRORS, Place, raise_transient
from .link import Line as BothLine
from .script import Command, packed
from .settings import Settings

T = TypeVar("T")


class Line(BothLine):
    """
    As `coatcheck_redis.link.Line`.
    """

    async def _repeat(
        self,
        act: Callable[[Attempts], Awaitable[T]],
        *,
        writing: bool,
        start: float | None = None,
    ) -> T:
        """
        Return what *act* returns, see `Repeats.arun`.
        """

        async def bounded(attempts: Attempts) -> T:
            try:
                async with asyncio.timeout(attempts.left):
                    return await act(attempts)
            except ERRORS as error:
                pass_on_interruption(error)
                # What befell one connection may have befallen those that were idle as long.
                await self._drop_idle()
                if isinstance(error, TimeoutError):
                    raise exceptions.TimeoutError("the server did not answer in time") from error
                raise

        return await self.repeats.arun(bounded, writing=writing, start=start)

    async def _drop_idle(self) -> None:
        """
        Close the connections that are not in use.
        """
        raise NotImplementedError


def make_pool(settings: Settings, /, **place: Any) -> Pool:
    """
    As `coatcheck_redis.link.make_pool`.
    """
    # Its own timeouts are ours already; with one of the socket's, the driver sends in a way that
    # swallows cancellations on Python 3.11, and takes a task for each command.
    options = {**settings.connection, "socket_timeout": None, **place}
    return Pool(connection_class(settings), options, limit=settings.max_connections)


class Link(Line):
    """
    As `coatcheck_redis.link.Link`.
    """

    sharded = False

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._pool = make_pool(settings, **({"settings": settings} if settings.sentinel else {}))
        # Apart, because errors say what was being done.
        self._writes = self._make_pipeline(writing=True)
        self._reads = self._make_pipeline(writing=False)

    def _make_pipeline(self, *, writing: bool) -> AutoPipeline:
        async def send(commands: Sequence[Command], start: float) -> list[Any]:
            return await self._repeat(
                lambda _: exchange(self._pool, commands, check=True), writing=writing, start=start
            )

        def renew(error: BackendError) -> BackendError:
            cause = error.__cause__
            assert isinstance(cause, Exception)  # noqa: S101 - `Repeats` gives it one
            again = mapped(cause, self._settings.label, writing=writing)
            again.__cause__ = cause
            return again

        return AutoPipeline(send, renew)

    async def ask(
        self, commands: Sequence[Command], *, writing: bool, place: Place = None
    ) -> list[Any]:
        """
        Return the replies; the server's errors among them as exceptions of the driver.
        """
        return await (self._writes if writing else self._reads).ask(commands)

    async def _drop_idle(self) -> None:
        await self._pool.drop_idle()

    async def places(self) -> list[Place]:
        """
        Return where keys are, for `ask`.
        """
        return [None]

    # -- for the bell ---------------------------------------------------------------------

    async def locate(self, keys: Collection[str]) -> dict[Place, list[str]]:
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

    async def close(self) -> None:
        """
        Close all connections; the next command opens new ones.
        """
        await self._pool.close()


async def exchange(pool: Pool, commands: Sequence[Command], *, check: bool = False) -> list[Any]:
    """
    Send *commands* over a connection of *pool*, and return the replies. With *check* the first
    one that says "not now" is raised.
    """
    connection = await pool.take()
    good = False
    try:
        await connection.send_packed_command([packed(commands)], check_health=False)
        replies = [await _read(connection) for _ in commands]
        if check:
            raise_transient(replies)
        good = True
    except BaseException:
        # A server that says READONLY was the master once: the next connection may be to the new one.
        await connection.disconnect(nowait=True)
        raise
    finally:
        # Replies that were not read would answer the next command.
        pool.give_back(connection, good=good)
    return replies


async def _read(connection: Any) -> Any:
    try:
        return await connection.read_response()  # without a timeout, see `make_pool`
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
