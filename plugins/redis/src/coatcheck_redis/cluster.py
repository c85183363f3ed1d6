"""
The way to a cluster: each command goes to the node that serves its key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from redis import exceptions
from redis.connection import AbstractConnection

from coatcheck.plugin import Attempts, drive, pass_on_interruption

from .link import ERRORS, BaseLink, connection_class, receive, send
from .pool import Pool
from .script import Reply
from .settings import Node, Settings
from .topology import SLOTS, SLOTS_PART, Batch, Errand, Topology

if TYPE_CHECKING:
    from .operations import Request

P = TypeVar("P")


class BaseCluster(BaseLink, Generic[P]):
    """The base of both sides: the nodes, and a pool for each."""

    sharded = True

    def __init__(self, settings: Settings, make_pool: Callable[..., P]) -> None:
        super().__init__(settings)
        self._make_pool = partial(make_pool, settings)
        self._topology = Topology(settings.nodes)
        self._pools: dict[Node, P] = {}

    def _pool(self, node: Node) -> P:
        pool = self._pools.get(node)
        if pool is None:
            # Two threads may both make one; the second is discarded, before it has connected.
            pool = self._pools.setdefault(node, self._make_pool(host=node[0], port=node[1]))
        return pool

    def _take_unused(self) -> list[P]:
        """Remove and return the pools of nodes that serve nothing now."""
        gone = set(self._pools).difference(self._topology.nodes)
        return [pool for node in gone if (pool := self._pools.pop(node, None)) is not None]

    def doubt(self, node: Node | None, error: Exception | None = None) -> None:
        if isinstance(error, exceptions.MovedError) and node is not None:
            self._topology.moved(error, node)
        else:
            self._topology.stale = True


class Cluster(BaseCluster[Pool]):
    """As `Link`, for commands with one key each. Shared by threads."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, partial(Pool, connection_class(settings)))

    def ask(self, request: Request) -> list[Reply]:
        """Return the replies. Errors of the server are among them, as exceptions of the driver."""
        errand = Errand(request.commands, self._topology, request.node)
        while errand.is_open:
            self.repeats.run(partial(self._round, errand), writing=request.writing)
        return errand.outcome

    def _round(self, errand: Errand, attempts: Attempts) -> None:
        if self._topology.stale:
            self._refresh(attempts)
        self._exchange(errand.batches(), errand, attempts)
        errand.check()

    def _exchange(self, batches: Sequence[Batch], errand: Errand, attempts: Attempts) -> None:
        """
        Send all *batches* to their nodes, then read the replies.

        The call for each batch contains the call for the next one: an exception in any of them gives
        back the connections of all.
        """
        if not batches:
            return
        batch, *others = batches
        sent = False

        def act(connection: AbstractConnection) -> None:
            nonlocal sent
            send(connection, batch.commands)
            sent = True
            self._exchange(others, errand, attempts)
            errand.absorb(batch, receive(connection, batch.commands, attempts.left))

        pool = self._pool(batch.node)
        try:
            pool.lend(act, pool.patience)
        except ERRORS as error:
            pass_on_interruption(error)
            errand.failed(batch, error)
            if not sent:
                self._exchange(others, errand, attempts)

    def _refresh(self, attempts: Attempts) -> None:
        drive(self._topology.refreshing(attempts), self._ask_slots)
        # Their connections stay open: another thread may just have taken one.
        self._take_unused()

    def _ask_slots(self, node: Node) -> Reply:
        seconds = self.operation_timeout * SLOTS_PART

        def act(connection: AbstractConnection) -> Reply:
            send(connection, [SLOTS])
            return receive(connection, [SLOTS], seconds)[0]

        pool = self._pool(node)
        try:
            return pool.lend(act, pool.patience)
        except ERRORS as error:
            pass_on_interruption(error)
            return error

    def nodes(self) -> Sequence[Node]:
        """Return all primaries."""
        self.repeats.run(self._refresh, writing=False)
        return self._topology.nodes

    def locate(self, keys: Collection[str]) -> dict[Node | None, list[str]]:
        """Return the keys to subscribe to at each node. Raises the driver's errors."""
        if self._topology.stale:
            self._refresh(Attempts(self.operation_timeout))
        return self._topology.group(keys)

    def make_subscriber(self, node: Node | None) -> AbstractConnection:
        """Return a connection that does not belong to a pool."""
        assert node is not None  # noqa: S101 - `locate` returns no other
        return self._pool(node).make()

    def close(self) -> None:
        """Close all connections; the next command opens new ones."""
        for pool in list(self._pools.values()):
            pool.close()
