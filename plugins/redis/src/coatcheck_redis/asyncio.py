"""
The Redis backend for asyncio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from coatcheck.aio import Bell, KeyValueBackend
from coatcheck.aio.plugin import DrivenBackend, PerLoop
from coatcheck.plugin import adrive

from .asyncio_bell import RedisBell
from .asyncio_cluster import Cluster
from .asyncio_link import Link, connection_class
from .operations import START, RedisOperations, Request
from .script import Reply
from .settings import Settings


class RedisBackend(RedisOperations, DrivenBackend[bytes], KeyValueBackend):
    """With connections for each event loop."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        settings.check_driver(connection_class(settings))
        self._links: PerLoop[Link | Cluster] = PerLoop(
            lambda: Cluster(settings) if settings.cluster else Link(settings),
            lambda link: link.close(),
        )

    @property
    def trouble(self) -> Exception | None:
        return self._links.get().repeats.trouble

    @property
    def polling(self) -> Exception | None:
        return self._links.get().polling

    async def _ask(self, request: Request) -> list[Reply]:
        return await self._links.get().ask(request)

    async def scan(self, prefix: str = "") -> AsyncIterator[str]:
        seen: set[bytes] = set()
        for node in await self._links.get().nodes():
            cursor: bytes | None = START
            while cursor is not None:
                page = self._page(prefix, node, cursor, seen)
                cursor, keys = await adrive(page, self._ask)
                for key in keys:
                    yield key

    async def lives(
        self, keys: Collection[str], *, groups: bool = False
    ) -> dict[str, float | None]:
        return await adrive(self._lives(keys), self._ask)

    @asynccontextmanager
    async def watch(self, keys: Collection[str] = ()) -> AsyncIterator[Bell]:
        bell = RedisBell(self._links.get())
        try:
            await bell.add(keys)
            yield bell
        finally:
            await bell.close()

    async def close(self) -> None:
        link = self._links.pop()
        if link is not None:
            await link.close()
