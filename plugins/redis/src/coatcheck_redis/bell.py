"""
The bell of synchronous code: connections that subscribe to the keys' channels, one for each node.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

from redis import exceptions

from coatcheck import Bell
from coatcheck.plugin import Backoff, Waker, monotonic

from .cluster import Cluster
from .errors import is_refused, mapped
from .link import Link, Place
from .script import Command
from .subscription import PING_AFTER, Subscription

_logger = logging.getLogger("coatcheck")


class RedisBell(Bell):
    """
    Subscribes, listens, and connects again; what rings is only a hint.
    """

    def __init__(self, link: Link | Cluster, *, label: str) -> None:
        self._link = link
        self._label = label
        self._keys: set[str] = set()
        # Those that no ear listens for.
        self._homeless: set[str] = set()
        self._ears: dict[Place, Ear] = {}
        self._rang: set[str] = set()
        self._backoff = Backoff()
        self._waker = Waker()

    @property
    def pushing(self) -> bool:
        """
        Whether the subscription to every key is live.
        """
        return bool(self._ears) and not self._homeless

    # -- subscribing ----------------------------------------------------------------------

    def add(self, keys: Collection[str]) -> None:
        fresh = {key for key in keys if key not in self._keys}
        self._keys |= fresh
        self._homeless |= fresh
        # Fresh ones do not ring: the look at them comes after this.
        self._rang |= self._settle() - fresh

    def discard(self, keys: Iterable[str]) -> None:
        gone = self._keys.intersection(keys)
        self._keys -= gone
        self._homeless -= gone
        for place, ear in list(self._ears.items()):
            self._guarded(place, partial(ear.unsubscribe, gone))

    def _settle(self) -> set[str]:
        """
        Subscribe to what is homeless, unless that failed a moment ago; return what no longer is.
        """
        if not self._homeless or self._backoff.left:
            return set()
        try:
            homes = self._link.locate(self._homeless)
        except (exceptions.RedisError, OSError) as error:
            self._fail(error)
            return set()
        for place, keys in homes.items():
            self._guarded(place, partial(self._subscribe, place, keys))
        for place in homes:
            if place in self._ears:
                self._guarded(place, self._ears[place].confirm)
        heard = [ear.subscription.keys for ear in self._ears.values()]
        settled = {key for key in self._homeless if any(key in keys for keys in heard)}
        self._homeless -= settled
        if not self._homeless:
            self._backoff.worked()
            self._link.polling = None
        elif not self._backoff.left:
            self._backoff.failed()
        return settled

    def _subscribe(self, place: Place, keys: Collection[str]) -> None:
        ear = self._ears.get(place)
        if ear is None:
            connection = self._link.make_subscriber(place)
            ear = self._ears[place] = Ear(connection, sharded=self._link.sharded)
        ear.subscribe(keys)

    def _guarded(self, place: Place, act: Callable[[], object]) -> None:
        """
        Do what needs the connection to *place*; an error of it ends it.
        """
        try:
            act()
        except (exceptions.RedisError, OSError) as error:
            self._drop(place)
            self._fail(error)
        else:
            self._gather(place, self._ears[place].subscription)

    def _gather(self, place: Place, subscription: Subscription) -> None:
        """
        Take over what a subscription heard, and what it lost.
        """
        self._rang |= subscription.rang
        self._homeless |= subscription.lost & self._keys
        for error in subscription.moves.values():
            self._link.doubt(place, error)
        subscription.clear()

    def _drop(self, place: Place) -> None:
        ear = self._ears.pop(place)
        ear.connection.disconnect()
        self._gather(place, ear.subscription)
        self._homeless |= ear.subscription.keys & self._keys
        self._link.doubt(place)

    def _fail(self, error: Exception) -> None:
        _logger.info("%s: no subscription, polling for now: %s", self._label, error)
        self._link.polling = mapped(error, self._label, writing=False)
        self._backoff.failed(refused=is_refused(error))

    # -- listening ------------------------------------------------------------------------

    def wait(self, timeout: float) -> Collection[str]:
        deadline = monotonic() + timeout
        readable: set[Ear | None] = set()
        while True:
            self._rang |= self._settle()
            for place, ear in list(self._ears.items()):
                self._guarded(place, partial(ear.listen, readable=ear in readable))
            left = deadline - monotonic()
            if self._rang or left <= 0 or None in readable:
                rang, self._rang = self._rang, set()
                return rang
            # Once more before a sleep: what the driver has read already, the socket does not show.
            readable = set() if readable else self._sleep(left)

    def _sleep(self, seconds: float) -> set[Ear | None]:
        """
        Sleep until there is something to do, at most *seconds*; return what can be read, where
        `None` stands for a call of `wake`.
        """
        if self._homeless:
            seconds = min(seconds, self._backoff.left)
        ears = {ear.descriptor: ear for ear in self._ears.values()}
        readable, woken = self._waker.sleep(ears, seconds)
        heard: set[Ear | None] = {ears[descriptor] for descriptor in readable}
        return heard | {None} if woken else heard

    def wake(self) -> None:
        self._waker.wake()

    def close(self) -> None:
        """
        End the subscription.
        """
        for ear in self._ears.values():
            ear.connection.disconnect()
        self._ears.clear()
        self._waker.close()


class Ear:
    """
    One connection that listens.
    """

    def __init__(self, connection: Any, *, sharded: bool) -> None:
        self.connection = connection
        self.subscription = Subscription(sharded=sharded)
        self._heard = monotonic()
        self._pinged = False

    @property
    def descriptor(self) -> int:
        """
        The file descriptor of the socket.
        """
        descriptor: int = self.connection._sock.fileno()  # noqa: SLF001 - no public way
        return descriptor

    def subscribe(self, keys: Collection[str]) -> None:
        """
        Send the subscription; the first one connects.
        """
        self._send(self.subscription.subscribe(keys))

    def unsubscribe(self, keys: Collection[str]) -> None:
        """
        Send the end of the subscription.
        """
        self._send(self.subscription.unsubscribe(keys))

    def _send(self, commands: list[Command]) -> None:
        if commands:
            packed = self.connection.pack_commands(commands)
            self.connection.send_packed_command(packed, check_health=False)

    def confirm(self) -> None:
        """
        Return when the server has confirmed all that was subscribed to.
        """
        while self.subscription.unconfirmed:
            self._read()

    def listen(self, *, readable: bool = False) -> None:
        """
        Read what is there, of a socket known to be *readable* one message: it comes sooner than
        the driver finds, in three system calls, that it is or that there is no more. Raises if
        nothing was there for long, not even an answer.
        """
        if readable:
            self._read()
        else:
            while self.connection.can_read(0):
                self._read()
        silent = monotonic() - self._heard
        if silent > 2 * PING_AFTER:
            raise exceptions.ConnectionError("the subscription's connection fell silent")
        if silent > PING_AFTER and not self._pinged:
            self._send([("PING",)])
            self._pinged = True

    def _read(self) -> None:
        try:
            message = self.connection.read_response()
        except exceptions.ResponseError as error:
            message = error
        self._heard, self._pinged = monotonic(), False
        self.subscription.take(message)
