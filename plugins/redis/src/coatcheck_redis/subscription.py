"""
Subscriptions of a bell: the keys of each connection, and the meaning of its messages. No I/O.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any, Final, Generic, Protocol, TypeVar

from redis import exceptions

from coatcheck.plugin import Backoff, batches

from .errors import is_refused, mapped
from .link import BaseLink
from .script import Command
from .settings import Node
from .topology import slot_of

#: A connection that was silent for this time, in seconds, is asked for a sign of life.
PING_AFTER: Final = 10.0

_MESSAGES: Final = (b"message", b"smessage")
_SUBSCRIBED: Final = (b"subscribe", b"ssubscribe")

_logger = logging.getLogger("coatcheck")


class Subscription:
    """
    The keys of one connection.

    Args:
        sharded: use sharded pub/sub, as on a cluster.
    """

    def __init__(self, *, sharded: bool) -> None:
        self._sharded = sharded
        self.keys: set[str] = set()
        #: Keys whose subscription the server has not confirmed.
        self.unconfirmed: set[str] = set()
        self.rang: set[str] = set()
        #: Keys that another node serves now. They are no longer in `keys`.
        self.lost: set[str] = set()
        #: The slots that have moved, with the node's answer.
        self.moves: dict[int, exceptions.MovedError | None] = {}

    def subscribe(self, keys: Collection[str]) -> list[Command]:
        """Return the commands that subscribe to *keys*."""
        self.keys.update(keys)
        self.unconfirmed.update(keys)
        return self._commands("SUBSCRIBE", keys)

    def unsubscribe(self, keys: Iterable[str]) -> list[Command]:
        """Return the commands that end the subscription to *keys*. Unknown keys are ignored."""
        gone = self.keys.intersection(keys)
        self.keys -= gone
        self.unconfirmed -= gone
        return self._commands("UNSUBSCRIBE", gone)

    def _commands(self, name: str, keys: Collection[str]) -> list[Command]:
        if self._sharded:  # where one command takes no channels of different slots
            return [(f"S{name}", key) for key in keys]
        return [(name, *batch) for batch in batches(keys)]

    def is_live(self, key: str) -> bool:
        """Whether the server has confirmed the subscription to *key*."""
        return key in self.keys and key not in self.unconfirmed

    def take(self, message: Any) -> None:
        """
        Take a message, or an error of the server. An error that ends the connection is raised.
        """
        if isinstance(message, exceptions.MovedError):
            gone = {key for key in self.keys if slot_of(key) == message.slot_id}
            self._lose(gone, message.slot_id, message)
        elif isinstance(message, Exception):
            raise message
        elif isinstance(message, list) and isinstance(message[1], bytes):
            self._take(message[0], message[1].decode("utf-8", "surrogateescape"))

    def _take(self, kind: bytes, key: str) -> None:
        if kind in _MESSAGES:
            self.rang.add(key)
        elif kind in _SUBSCRIBED:
            self.unconfirmed.discard(key)
        elif kind == b"sunsubscribe" and self.is_live(key):
            self._lose({key}, slot_of(key), None)  # not at our request

    def _lose(self, keys: set[str], slot: int, error: exceptions.MovedError | None) -> None:
        self.keys -= keys
        self.unconfirmed -= keys
        self.lost |= keys
        self.moves[slot] = error

    def clear(self) -> None:
        """Forget the rings and the losses, once the bell has them."""
        self.rang.clear()
        self.lost.clear()
        self.moves.clear()


class Listening(Protocol):
    """A connection that listens."""

    subscription: Subscription


L = TypeVar("L", bound=BaseLink)
E = TypeVar("E", bound=Listening)


class Subscriptions(Generic[L, E]):
    """The base of the bells of both sides: their keys, and the connections that listen for them."""

    def __init__(self, link: L) -> None:
        super().__init__()
        self._link = link
        self._keys: set[str] = set()
        #: Keys for which no connection listens.
        self._homeless: set[str] = set()
        self._ears: dict[Node | None, E] = {}
        self._rang: set[str] = set()
        self._backoff = Backoff()

    @property
    def pushing(self) -> bool:
        """Whether the subscription to every key is live."""
        return bool(self._ears) and not self._homeless

    def _add(self, keys: Collection[str]) -> set[str]:
        """Return those of *keys* that are new."""
        fresh = {key for key in keys if key not in self._keys}
        self._keys |= fresh
        self._homeless |= fresh
        return fresh

    def _remove(self, keys: Iterable[str]) -> set[str]:
        """Return those of *keys* that were ours."""
        gone = self._keys.intersection(keys)
        self._keys -= gone
        self._homeless -= gone
        return gone

    @property
    def _may_settle(self) -> bool:
        """Whether to subscribe to homeless keys now: the last failure was not a moment ago."""
        return bool(self._homeless) and not self._backoff.left

    def _settled(self) -> set[str]:
        """Return the keys that are no longer homeless after subscribing."""
        heard = [ear.subscription for ear in self._ears.values()]
        settled = {key for key in self._homeless if any(one.is_live(key) for one in heard)}
        self._homeless -= settled
        if not self._homeless:
            self._backoff.worked()
            self._link.polling = None
        elif not self._backoff.left:
            self._backoff.failed()
        return settled

    def _gather(self, node: Node | None, subscription: Subscription) -> bool:
        """Take over the rings and the losses of a connection. Return whether there were losses."""
        lost = subscription.lost & self._keys
        self._rang |= subscription.rang
        self._homeless |= lost
        for error in subscription.moves.values():
            self._link.doubt(node, error)
        subscription.clear()
        return bool(lost)

    def _drop(self, node: Node | None, error: Exception) -> E | None:
        """
        Remove and return the connection to *node*, which ended with *error*. Its keys become homeless.
        """
        ear = self._ears.pop(node, None)
        if ear is not None:
            self._gather(node, ear.subscription)
            self._homeless |= ear.subscription.keys & self._keys
        self._link.doubt(node)
        self._fail(error)
        return ear

    def _fail(self, error: Exception) -> None:
        _logger.info("%s: no subscription, polling for now: %s", self._link.label, error)
        self._link.polling = mapped(error, self._link.label, writing=False)
        self._backoff.failed(refused=is_refused(error))
