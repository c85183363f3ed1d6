"""
As `cluster`, for one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from redis.asyncio.connection import AbstractConnection

from coatcheck.plugin import Attempts, adrive

from .asyncio_link import AsyncioLink, connection_class
from .asyncio_pool import Pool
from .cluster import BaseCluster
from .link import ERRORS
from .script import Reply
from .settings import Node, Settings
from .topology import SLOTS, SLOTS_PART, Batch, Errand

if TYPE_CHECKING:
    from .operations import Request


class Cluster(AsyncioLink, BaseCluster[Pool]):
    """As `coatcheck_redis.cluster.Cluster`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, partial(Pool, connection_class(settings)))

    async def ask(self, request: Request) -> list[Reply]:
        """Return the replies. Errors of the server are among them, as exceptions of the driver."""
        errand = Errand(request.commands, self._topology, request.node)
        while errand.is_open:
            await self._repeat(partial(self._round, errand), writing=request.writing)
        return errand.outcome

    async def _round(self, errand: Errand, attempts: Attempts) -> None:
        if self._topology.stale:
            await self._refresh(attempts)
        async with asyncio.TaskGroup() as group:
            for batch in errand.batches():
                group.create_task(self._send(batch, errand))
        errand.check()

    async def _send(self, batch: Batch, errand: Errand) -> None:
        try:
            errand.absorb(batch, await self._pool(batch.node).exchange(batch.commands))
        except ERRORS as error:
            errand.failed(batch, error)

    async def _refresh(self, attempts: Attempts) -> None:
        await adrive(self._topology.refreshing(attempts), self._ask_slots)
        for pool in self._take_unused():
            await pool.drop_idle()

    async def _ask_slots(self, node: Node) -> Reply:
        try:
            async with asyncio.timeout(self.operation_timeout * SLOTS_PART):
                return (await self._pool(node).exchange([SLOTS]))[0]
        except ERRORS as error:
            return error

    async def _drop_idle(self) -> None:
        for pool in list(self._pools.values()):
            await pool.drop_idle()

    async def nodes(self) -> Sequence[Node]:
        """Return all primaries."""
        await self._repeat(self._refresh, writing=False)
        return self._topology.nodes

    async def locate(self, keys: Collection[str]) -> dict[Node | None, list[str]]:
        """Return the keys to subscribe to at each node. Raises the driver's errors."""
        if self._topology.stale:
            await self._refresh(Attempts(self.operation_timeout))
        return self._topology.group(keys)

    def make_subscriber(self, node: Node | None) -> AbstractConnection:
        """Return a connection that does not belong to a pool."""
        assert node is not None  # noqa: S101 - `locate` returns no other
        return self._pool(node).make()

    async def close(self) -> None:
        """Close all connections; the next command opens new ones."""
        for pool in self._pools.values():
            await pool.close()
