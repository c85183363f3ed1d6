"""
The bell of synchronous code: connections that subscribe to the keys' channels, one for each node.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial

from redis import exceptions
from redis.connection import AbstractConnection

from coatcheck import Bell
from coatcheck.plugin import Waker, monotonic

from .cluster import Cluster
from .link import ERRORS, Link
from .script import Command
from .settings import Node
from .subscription import PING_AFTER, Subscription, Subscriptions


class RedisBell(Subscriptions[Link | Cluster, "Ear"], Bell):
    """Subscribes, listens and connects again. A ring is only a hint."""

    def __init__(self, link: Link | Cluster) -> None:
        super().__init__(link)
        self._waker = Waker()

    # -- subscribing ----------------------------------------------------------------------

    def add(self, keys: Collection[str]) -> None:
        fresh = self._add(keys)
        # Fresh keys do not ring: the look at them comes after this.
        self._rang |= self._settle() - fresh

    def discard(self, keys: Iterable[str]) -> None:
        gone = self._remove(keys)
        for node, ear in list(self._ears.items()):
            self._guarded(node, partial(ear.unsubscribe, gone))

    def _settle(self) -> set[str]:
        """Subscribe to homeless keys, and return those that no longer are."""
        if not self._may_settle:
            return set()
        try:
            homes = self._link.locate(self._homeless)
        except ERRORS as error:
            self._fail(error)
            return set()
        for node, keys in homes.items():
            self._guarded(node, partial(self._subscribe, node, keys))
        for node in homes:
            if node in self._ears:
                self._guarded(node, self._ears[node].confirm)
        return self._settled()

    def _subscribe(self, node: Node | None, keys: Collection[str]) -> None:
        ear = self._ears.get(node)
        if ear is None:
            ear = Ear(self._link.make_subscriber(node), sharded=self._link.sharded)
            self._ears[node] = ear
        ear.subscribe(keys)

    def _guarded(self, node: Node | None, act: Callable[[], object]) -> None:
        """Call *act*, which uses the connection to *node*. An error ends the connection."""
        try:
            act()
        except ERRORS as error:
            if node in self._ears:
                self._ears[node].close()
            self._drop(node, error)
        else:
            self._gather(node, self._ears[node].subscription)

    # -- listening ------------------------------------------------------------------------

    def wait(self, timeout: float) -> Collection[str]:
        deadline = monotonic() + timeout
        readable: set[Ear | None] = set()
        while True:
            self._rang |= self._settle()
            for node, ear in list(self._ears.items()):
                self._guarded(node, partial(ear.listen, readable=ear in readable))
            left = deadline - monotonic()
            if self._rang or left <= 0 or None in readable:
                rang, self._rang = self._rang, set()
                return rang
            # Listen once more before a sleep: the socket does not show messages that the driver has
            # read already.
            readable = set() if readable else self._sleep(left)

    def _sleep(self, seconds: float) -> set[Ear | None]:
        """
        Sleep until there is something to do, at most *seconds*. Return the connections that can be
        read, and `None` for a call of `wake`.
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
        """End the subscription."""
        for ear in self._ears.values():
            ear.close()
        self._ears.clear()
        self._waker.close()


class Ear:
    """A connection that listens."""

    def __init__(self, connection: AbstractConnection, *, sharded: bool) -> None:
        self._connection = connection
        self.subscription = Subscription(sharded=sharded)
        self._heard = monotonic()
        self._pinged = False

    @property
    def descriptor(self) -> int:
        """The file descriptor of the socket."""
        # No public way; and the driver gives the attribute no type.
        return self._connection._sock.fileno()  # type: ignore[attr-defined, no-any-return] # noqa: SLF001

    def subscribe(self, keys: Collection[str]) -> None:
        """Send the subscription; the first one connects."""
        self._send(self.subscription.subscribe(keys))

    def unsubscribe(self, keys: Collection[str]) -> None:
        """Send the end of the subscription."""
        self._send(self.subscription.unsubscribe(keys))

    def _send(self, commands: list[Command]) -> None:
        if commands:
            packed = self._connection.pack_commands(commands)
            self._connection.send_packed_command(packed, check_health=False)

    def confirm(self) -> None:
        """Return when the server has confirmed every subscription."""
        while self.subscription.unconfirmed:
            self._read()

    def listen(self, *, readable: bool = False) -> None:
        """
        Read the messages that are there, or one if the socket is known to be *readable*. Raises if
        the connection was silent for too long.
        """
        # The driver needs three system calls to find that there is a message, or no other one.
        if readable:
            self._read()
        else:
            while self._connection.can_read(0):
                self._read()
        silent = monotonic() - self._heard
        if silent > 2 * PING_AFTER:
            raise exceptions.ConnectionError("the subscription's connection fell silent")
        if silent > PING_AFTER and not self._pinged:
            self._send([("PING",)])
            self._pinged = True

    def _read(self) -> None:
        try:
            message = self._connection.read_response()
        except exceptions.ResponseError as error:
            message = error
        self._heard, self._pinged = monotonic(), False
        self.subscription.take(message)

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()
