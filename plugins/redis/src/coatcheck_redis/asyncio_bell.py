"""
The bell for asyncio: connections as in `bell`, and a task for each that reads it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from typing import Any

from redis import exceptions

from coatcheck.aio import Bell
from coatcheck.aio.plugin import tasks
from coatcheck.plugin import Backoff

from .asyncio_cluster import Cluster
from .asyncio_link import Link
from .errors import is_refused, mapped
from .link import Place
from .script import Command
from .subscription import PING_AFTER, Subscription

_logger = logging.getLogger("coatcheck")


class RedisBell(Bell):
    """
    Subscribes, listens, and connects again; what rings is only a hint.
    """

    def __init__(self, link: Link | Cluster, *, label: str, patience: float) -> None:
        super().__init__()
        self._link = link
        self._label = label
        self._patience = patience
        self._keys: set[str] = set()
        # Those that no ear listens for.
        self._homeless: set[str] = set()
        self._ears: dict[Place, Ear] = {}
        self._rang: set[str] = set()
        self._backoff = Backoff()
        self._settling = asyncio.Lock()
        self._work = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pushing(self) -> bool:
        """
        Whether the subscription to every key is live.
        """
        return bool(self._ears) and not self._homeless

    # -- subscribing ----------------------------------------------------------------------

    async def add(self, keys: Collection[str]) -> None:
        fresh = {key for key in keys if key not in self._keys}
        self._keys |= fresh
        self._homeless |= fresh
        # Fresh ones do not ring: the look at them comes after this.
        self._ring(await self._settle_in_time() - fresh)
        if self._homeless:
            self._keep()

    async def discard(self, keys: Iterable[str]) -> None:
        gone = self._keys.intersection(keys)
        self._keys -= gone
        self._homeless -= gone
        for ear in list(self._ears.values()):
            try:
                await ear.unsubscribe(gone)
            except (exceptions.RedisError, OSError) as error:
                _logger.debug("%s: %s", self._label, error)  # its reader finds the same

    async def _settle_in_time(self) -> set[str]:
        try:
            async with asyncio.timeout(self._patience):
                return await self._settle()
        except TimeoutError:
            self._fail(exceptions.TimeoutError("the server did not confirm in time"))
            return set()

    async def _settle(self) -> set[str]:
        """
        Subscribe to what is homeless, unless that failed a moment ago; return what no longer is.
        """
        async with self._settling:
            if not self._homeless or self._backoff.left:
                return set()
            try:
                homes = await self._link.locate(self._homeless)
            except (exceptions.RedisError, OSError) as error:
                self._fail(error)
                return set()
            async with asyncio.TaskGroup() as group:
                for place, keys in homes.items():
                    group.create_task(self._subscribe(place, keys))
        ears = list(self._ears.values())
        settled = {key for key in self._homeless if any(ear.hears(key) for ear in ears)}
        self._homeless -= settled
        if not self._homeless:
            self._backoff.worked()
            self._link.polling = None
        elif not self._backoff.left:
            self._backoff.failed()
        return settled

    async def _subscribe(self, place: Place, keys: Collection[str]) -> None:
        """
        Subscribe to *keys*, and return when the server has said so for each of them.
        """
        try:
            ear = self._ears.get(place) or await self._open(place)
            await ear.subscribe(keys)
            await ear.settled.wait()
        except (exceptions.RedisError, OSError) as error:
            await self._drop(place, error)

    async def _open(self, place: Place) -> Ear:
        connection = self._link.make_subscriber(place)
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        ear = self._ears[place] = Ear(
            connection, sharded=self._link.sharded, patience=self._patience
        )
        ear.reader = tasks.start(self._listen(place, ear), name="coatcheck-bell")
        return ear

    # -- what goes on by itself -----------------------------------------------------------

    async def _listen(self, place: Place, ear: Ear) -> None:
        try:
            while True:
                await ear.read()
                self._gather(place, ear.subscription)
        except (exceptions.RedisError, OSError) as error:
            if self._ears.get(place) is ear:
                await self._drop(place, error)
        finally:
            ear.settled.set()

    def _gather(self, place: Place, subscription: Subscription) -> None:
        """
        Take over what a subscription heard, and what it lost.
        """
        if subscription.rang:
            self._ring(subscription.rang)
        for error in subscription.moves.values():
            self._link.doubt(place, error)
        if subscription.lost:
            self._homeless |= subscription.lost & self._keys
            self._keep()
        subscription.clear()

    async def _drop(self, place: Place, error: Exception) -> None:
        self._link.doubt(place)
        self._fail(error)
        ear = self._ears.pop(place, None)
        if ear is not None:
            self._homeless |= ear.subscription.keys & self._keys
            await ear.close()
        self._keep()

    def _fail(self, error: Exception) -> None:
        _logger.info("%s: no subscription, polling for now: %s", self._label, error)
        self._link.polling = mapped(error, self._label, writing=False)
        self._backoff.failed(refused=is_refused(error))

    def _keep(self) -> None:
        """
        Have what is homeless settled in the background.
        """
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

    def _ring(self, keys: Iterable[str]) -> None:
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
        """
        End the subscription.
        """
        tasks = [ear.reader for ear in self._ears.values()] + [self._keeper]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        # First what is not suspended: this may be cancelled at the wait.
        for ear in self._ears.values():
            await ear.close()
        self._ears.clear()
        if running:
            await asyncio.wait(running)


class Ear:
    """
    One connection that listens.
    """

    def __init__(self, connection: Any, *, sharded: bool, patience: float) -> None:
        self._connection = connection
        self._patience = patience
        self.subscription = Subscription(sharded=sharded)
        self.reader: asyncio.Task[None] | None = None
        #: Set while nothing is to be confirmed, or nobody listens any longer.
        self.settled = asyncio.Event()
        self._pinged = False

    async def subscribe(self, keys: Collection[str]) -> None:
        """
        Send the subscription.
        """
        self.settled.clear()
        await self._send(self.subscription.subscribe(keys))

    async def unsubscribe(self, keys: Collection[str]) -> None:
        """
        Send the end of the subscription.
        """
        await self._send(self.subscription.unsubscribe(keys))

    async def _send(self, commands: list[Command]) -> None:
        if commands:
            packed = self._connection.pack_commands(commands)
            async with asyncio.timeout(self._patience):
                await self._connection.send_packed_command(packed, check_health=False)

    def hears(self, key: str) -> bool:
        """
        Whether the subscription to *key* is live.
        """
        return key in self.subscription.keys and key not in self.subscription.unconfirmed

    async def read(self) -> None:
        """
        Read one message. Raises if none came for long, not even an answer.
        """
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

    async def _next(self) -> Any:
        try:
            # `None` after the timeout.
            return await self._connection.read_response(
                timeout=PING_AFTER, disconnect_on_error=False
            )
        except exceptions.ResponseError as error:
            return error

    async def close(self) -> None:
        """
        Close the connection; its reader finds out, if it is not the one who calls.
        """
        await self._connection.disconnect(nowait=True)
