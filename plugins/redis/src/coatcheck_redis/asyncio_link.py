"""
As `link`, for one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, TypeVar

from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from coatcheck import BackendError
from coatcheck.plugin import Attempts, pass_on_interruption

from .asyncio_connections import Connection, SSLConnection, UnixConnection
from .asyncio_pipeline import AutoPipeline
from .asyncio_pool import Pool
from .asyncio_sentinel import MasterConnection, MasterTLSConnection
from .errors import mapped
from .link import ERRORS, BaseLink, master_options, raise_transient
from .script import Command, Reply
from .settings import Node, Settings

if TYPE_CHECKING:
    from .operations import Request

T = TypeVar("T")


class AsyncioLink(BaseLink):
    """The base of both links for asyncio."""

    async def _repeat(
        self,
        act: Callable[[Attempts], Awaitable[T]],
        *,
        writing: bool,
        start: float | None = None,
    ) -> T:
        """Return the value of *act*, see `Repeats.arun`."""

        async def bounded(attempts: Attempts) -> T:
            try:
                async with asyncio.timeout(attempts.left):
                    return await act(attempts)
            except ERRORS as error:
                pass_on_interruption(error)
                # Connections that were idle as long may be lost for the same reason.
                await self._drop_idle()
                if isinstance(error, TimeoutError):
                    raise exceptions.TimeoutError("the server did not answer in time") from error
                raise

        return await self.repeats.arun(bounded, writing=writing, start=start)

    async def _drop_idle(self) -> None:
        """Close the connections that are not in use."""
        raise NotImplementedError


class Link(AsyncioLink):
    """As `coatcheck_redis.link.Link`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._pool = Pool(connection_class(settings), settings, **master_options(settings))
        # Two, because an error says whether it happened to a write.
        self._writes = self._make_pipeline(writing=True)
        self._reads = self._make_pipeline(writing=False)

    def _make_pipeline(self, *, writing: bool) -> AutoPipeline:
        async def send(commands: Sequence[Command], start: float) -> list[Reply]:
            return await self._repeat(
                lambda _: self._pool.exchange(commands, check=raise_transient),
                writing=writing,
                start=start,
            )

        def renew(error: BackendError) -> BackendError:
            cause = error.__cause__
            assert isinstance(cause, Exception)  # noqa: S101 - `Repeats` sets it
            again = mapped(cause, self.label, writing=writing)
            again.__cause__ = cause
            return again

        return AutoPipeline(send, renew)

    async def ask(self, request: Request) -> list[Reply]:
        """Return the replies. Errors of the server are among them, as exceptions of the driver."""
        return await (self._writes if request.writing else self._reads).ask(request.commands)

    async def _drop_idle(self) -> None:
        await self._pool.drop_idle()

    async def nodes(self) -> Sequence[Node | None]:
        """Return the nodes to ask for all keys."""
        return [None]

    async def locate(self, keys: Collection[str]) -> dict[Node | None, list[str]]:
        """Return the keys to subscribe to at each node. Raises the driver's errors."""
        return {None: list(keys)}

    def make_subscriber(self, node: Node | None) -> AbstractConnection:
        """Return a connection that does not belong to the pool."""
        return self._pool.make()

    async def close(self) -> None:
        """Close all connections; the next command opens new ones."""
        await self._pool.close()


def connection_class(settings: Settings) -> type[AbstractConnection]:
    """Return the driver's class for the connections of *settings*."""
    if settings.sentinel:
        return MasterTLSConnection if settings.tls else MasterConnection
    if settings.socket:
        return UnixConnection
    return SSLConnection if settings.tls else Connection
