"""
The line to a cluster: every command goes to the node that serves its key.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from redis import exceptions

from coatcheck.plugin import Attempts, pass_on_interruption

from .link import ERRORS, Line, Place, make_pool, receive, send
from .pool import Pool
from .script import Command
from .settings import Node, Settings
from .topology import SLOTS, SLOTS_PART, Batch, Errand, Topology


class Cluster(Line):
    """
    As `Link`, for commands with one key each. Shared by threads.
    """

    sharded = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._topology = Topology()
        self._pools: dict[Node, Pool] = {}

    def ask(self, commands: Sequence[Command], *, writing: bool, place: Place = None) -> list[Any]:
        """
        Return the replies; the server's errors among them as exceptions of the driver.
        """
        errand = Errand(commands, self._topology, place)
        while errand.is_open:
            self.repeats.run(lambda attempts: self._round(errand, attempts), writing=writing)
        return errand.replies[: len(commands)]

    def _round(self, errand: Errand, attempts: Attempts) -> None:
        if self._topology.stale:
            self._refresh(attempts)
        self._exchange(errand.batches(), errand, attempts)
        if errand.error is not None:
            raise errand.error

    def _exchange(self, batches: Sequence[Batch], errand: Errand, attempts: Attempts) -> None:
        """
        Send all *batches* to their nodes, then read the replies.

        One call for each batch, within that of the batch before: what breaks off one of them gives
        back the connections of all.
        """
        if not batches:
            return
        batch, *others = batches
        sent = False

        def act(connection: Any) -> None:
            nonlocal sent
            send(connection, batch.commands)
            sent = True
            self._exchange(others, errand, attempts)
            errand.absorb(batch, receive(connection, batch.commands, attempts.left))

        try:
            self._pool(batch.node).lend(act)
        except ERRORS as error:
            pass_on_interruption(error)
            errand.failed(batch, error)
            if not sent:
                self._exchange(others, errand, attempts)

    def _refresh(self, attempts: Attempts) -> None:
        """
        Ask the nodes, one after the other, who serves what.
        """
        seconds = self._settings.operation_timeout * SLOTS_PART
        refusal: Exception = exceptions.ConnectionError("no node can be reached")
        for node in self._topology.to_ask(self._settings.nodes):
            if not attempts.may_try:
                break
            try:
                reply = self._pool(node).lend(partial(_ask_slots, seconds))
                if not isinstance(reply, Exception):
                    self._topology.learn(reply, node)
                    self._forget_nodes()
                    return
                refusal = reply
            except ERRORS as error:
                pass_on_interruption(error)
                refusal = error
        raise refusal

    def _forget_nodes(self) -> None:
        # Not disconnected here: another thread may just have taken a connection.
        for node in set(self._pools).difference(self._topology.nodes):
            self._pools.pop(node, None)

    def _pool(self, node: Node) -> Pool:
        pool = self._pools.get(node)
        if pool is None:
            # Of two threads that make one, one makes it in vain: it has not connected yet.
            made = make_pool(self._settings, host=node[0], port=node[1])
            pool = self._pools.setdefault(node, made)
        return pool

    def places(self) -> list[Place]:
        """
        Return where keys are, for `ask`.
        """
        self.repeats.run(self._refresh, writing=False)
        return list(self._topology.nodes)

    # -- for the bell ---------------------------------------------------------------------

    def locate(self, keys: Collection[str]) -> dict[Place, list[str]]:
        """
        Return where to subscribe to *keys*. Raises the driver's errors.
        """
        if self._topology.stale:
            self._refresh(Attempts(self._settings.operation_timeout))
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

    def close(self) -> None:
        """
        Close all connections; the next command opens new ones.
        """
        for pool in list(self._pools.values()):
            pool.close()


def _ask_slots(seconds: float, connection: Any) -> Any:
    send(connection, [SLOTS])
    return receive(connection, [SLOTS], seconds)[0]
