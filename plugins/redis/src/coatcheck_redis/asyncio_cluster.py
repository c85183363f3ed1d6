"""
As `cluster`, for one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from redis import exceptions

from coatcheck.plugin import Attempts

from .asyncio_link import Line, exchange, make_pool
from .asyncio_pool import Pool
from .link import ERRORS, Place
from .script import Command
from .settings import Node, Settings
from .topology import SLOTS, SLOTS_PART, Batch, Errand, Topology


class Cluster(Line):
    """
    As `coatcheck_redis.cluster.Cluster`.
    """

    sharded = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._topology = Topology()
        self._pools: dict[Node, Pool] = {}

    async def ask(
        self, commands: Sequence[Command], *, writing: bool, place: Place = None
    ) -> list[Any]:
        """
        Return the replies; the server's errors among them as exceptions of the driver.
        """
        errand = Errand(commands, self._topology, place)
        while errand.is_open:
            await self._repeat(lambda attempts: self._round(errand, attempts), writing=writing)
        return errand.replies[: len(commands)]

    async def _round(self, errand: Errand, attempts: Attempts) -> None:
        if self._topology.stale:
            await self._refresh(attempts)
        async with asyncio.TaskGroup() as group:
            for batch in errand.batches():
                group.create_task(self._send(batch, errand))
        if errand.error is not None:
            raise errand.error

    async def _send(self, batch: Batch, errand: Errand) -> None:
        try:
            errand.absorb(batch, await exchange(self._pool(batch.node), batch.commands))
        except ERRORS as error:
            errand.failed(batch, error)

    async def _refresh(self, attempts: Attempts) -> None:
        """
        Ask the nodes, one after the other, who serves what.
        """
        seconds = self._settings.operation_timeout * SLOTS_PART
        refusal: Exception = exceptions.ConnectionError("no node can be reached")
        for node in self._topology.to_ask(self._settings.nodes):
            if not attempts.may_try:
                break
            try:
                async with asyncio.timeout(seconds):
                    reply = (await exchange(self._pool(node), [SLOTS]))[0]
                if not isinstance(reply, Exception):
                    self._topology.learn(reply, node)
                    await self._forget_nodes()
                    return
                refusal = reply
            except ERRORS as error:
                refusal = error
        raise refusal

    async def _drop_idle(self) -> None:
        for pool in list(self._pools.values()):
            await pool.drop_idle()

    async def _forget_nodes(self) -> None:
        for node in set(self._pools).difference(self._topology.nodes):
            await self._pools.pop(node).drop_idle()

    def _pool(self, node: Node) -> Pool:
        if node not in self._pools:
            self._pools[node] = make_pool(self._settings, host=node[0], port=node[1])
        return self._pools[node]

    async def places(self) -> list[Place]:
        """
        Return where keys are, for `ask`.
        """
        await self._repeat(self._refresh, writing=False)
        return list(self._topology.nodes)

    # -- for the bell ---------------------------------------------------------------------

    async def locate(self, keys: Collection[str]) -> dict[Place, list[str]]:
        """
        Return where to subscribe to *keys*. Raises the driver's errors.
        """
        if self._topology.stale:
            await self._refresh(Attempts(self._settings.operation_timeout))
        return self._topology.group(keys)

    def make_subscriber(self, place: Place) -> Any:
        """
        Return a connection that is not of a pool: its life is the bell's.
        """
        assert place is not None  # noqa: S101 - as `locate` said
        return self._pool(place).make()

    def doubt(self, place: Place, error: Exception | None = None) -> None:
        """
        Take in that keys are not where `locate` said, and what the node there says to it.
        """
        if isinstance(error, exceptions.MovedError) and place is not None:
            self._topology.moved(error, place)
        else:
            self._topology.stale = True

    async def close(self) -> None:
        """
        Close all connections; the next command opens new ones.
        """
        for pool in self._pools.values():
            await pool.close()
