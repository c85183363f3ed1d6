"""
The bell for asyncio: connections as in `bell`, and a task for each that reads it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable

from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from coatcheck.aio import Bell
from coatcheck.aio.plugin import tasks

from .asyncio_cluster import Cluster
from .asyncio_link import Link
from .link import ERRORS
from .script import Command, Reply
from .settings import Node
from .subscription import PING_AFTER, Subscription, Subscriptions

_logger = logging.getLogger("coatcheck")


class RedisBell(Subscriptions[Link | Cluster, "Ear"], Bell):
    """Subscribes, listens and connects again. A ring is only a hint."""

    def __init__(self, link: Link | Cluster) -> None:
        super().__init__(link)
        self._settling = asyncio.Lock()
        self._work = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    # -- subscribing ----------------------------------------------------------------------

    async def add(self, keys: Collection[str]) -> None:
        fresh = self._add(keys)
        # Fresh keys do not ring: the look at them comes after this.
        self._ring(await self._settle_in_time() - fresh)
        if self._homeless:
            self._keep()

    async def discard(self, keys: Iterable[str]) -> None:
        gone = self._remove(keys)
        for ear in list(self._ears.values()):
            try:
                await ear.unsubscribe(gone)
            except ERRORS as error:
                _logger.debug("%s: %s", self._link.label, error)  # the reader finds the same

    async def _settle_in_time(self) -> set[str]:
        try:
            async with asyncio.timeout(self._link.operation_timeout):
                return await self._settle()
        except TimeoutError:
            self._fail(exceptions.TimeoutError("the server did not confirm in time"))
            return set()

    async def _settle(self) -> set[str]:
        """Subscribe to homeless keys, and return those that no longer are."""
        async with self._settling:
            if not self._may_settle:
                return set()
            try:
                homes = await self._link.locate(self._homeless)
            except ERRORS as error:
                self._fail(error)
                return set()
            async with asyncio.TaskGroup() as group:
                for node, keys in homes.items():
                    group.create_task(self._subscribe(node, keys))
        return self._settled()

    async def _subscribe(self, node: Node | None, keys: Collection[str]) -> None:
        """Subscribe to *keys*, and return when the server has confirmed it."""
        try:
            ear = self._ears.get(node) or await self._open(node)
            await ear.subscribe(keys)
            await ear.settled.wait()
        except ERRORS as error:
            await self._lose(node, error)

    async def _open(self, node: Node | None) -> Ear:
        connection = self._link.make_subscriber(node)
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        ear = Ear(connection, sharded=self._link.sharded, timeout=self._link.operation_timeout)
        self._ears[node] = ear
        ear.reader = tasks.start(self._listen(node, ear), name="coatcheck-bell")
        return ear

    # -- in the background ----------------------------------------------------------------

    async def _listen(self, node: Node | None, ear: Ear) -> None:
        try:
            while True:
                await ear.read()
                lost = self._gather(node, ear.subscription)
                self._ring()
                if lost:
                    self._keep()
        except ERRORS as error:
            if self._ears.get(node) is ear:
                await self._lose(node, error)
        finally:
            ear.settled.set()

    async def _lose(self, node: Node | None, error: Exception) -> None:
        ear = self._drop(node, error)
        if ear is not None:
            await ear.close()
        self._ring()
        self._keep()

    def _keep(self) -> None:
        """Settle homeless keys in the background."""
        self._work.set()
        if self._keeper is None:
            self._keeper = tasks.start(self._settle_for_ever(), name="coatcheck-bell")

    async def _settle_for_ever(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._homeless:
                await asyncio.sleep(self._backoff.left)
                self._ring(await self._settle_in_time())

    # -- listening ------------------------------------------------------------------------

    def _ring(self, keys: Iterable[str] = ()) -> None:
        self._rang.update(keys)
        if self._rang:
            self._woken.set()

    async def wait(self, timeout: float) -> Collection[str]:
        if not self._rang:
            await self._sleep(timeout)
        self._woken.clear()
        rang, self._rang = self._rang, set()
        return rang

    async def close(self) -> None:
        """End the subscription."""
        tasks = [ear.reader for ear in self._ears.values()] + [self._keeper]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        # The wait comes last: a cancellation may end it.
        for ear in self._ears.values():
            await ear.close()
        self._ears.clear()
        if running:
            await asyncio.wait(running)


class Ear:
    """
    A connection that listens.

    Args:
        timeout: the seconds that sending may take.
    """

    def __init__(self, connection: AbstractConnection, *, sharded: bool, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self.subscription = Subscription(sharded=sharded)
        self.reader: asyncio.Task[None] | None = None
        #: Set while the server has confirmed everything, and when nobody listens any longer.
        self.settled = asyncio.Event()
        self._pinged = False

    async def subscribe(self, keys: Collection[str]) -> None:
        """Send the subscription."""
        self.settled.clear()
        await self._send(self.subscription.subscribe(keys))

    async def unsubscribe(self, keys: Collection[str]) -> None:
        """Send the end of the subscription."""
        await self._send(self.subscription.unsubscribe(keys))

    async def _send(self, commands: list[Command]) -> None:
        if commands:
            packed = self._connection.pack_commands(commands)
            async with asyncio.timeout(self._timeout):
                await self._connection.send_packed_command(packed, check_health=False)

    async def read(self) -> None:
        """Read one message. Raises if the connection was silent for too long."""
        message = await self._next()
        if message is not None:
            self._pinged = False
            self.subscription.take(message)
            if not self.subscription.unconfirmed:
                self.settled.set()
        elif self._pinged:
            raise exceptions.ConnectionError("the subscription's connection fell silent")
        else:
            self._pinged = True
            await self._send([("PING",)])

    async def _next(self) -> Reply:
        try:
            # `None` after the timeout.
            return await self._connection.read_response(
                timeout=PING_AFTER, disconnect_on_error=False
            )
        except exceptions.ResponseError as error:
            return error

    async def close(self) -> None:
        """Close the connection, which ends its reader."""
        await self._connection.disconnect(nowait=True)
