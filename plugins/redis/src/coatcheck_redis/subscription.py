"""
What a subscriber's connection has subscribed to, and what its messages mean. No I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from redis import exceptions

from coatcheck.plugin import batches

from .script import Command
from .topology import slot_of

#: A connection that was silent for so long, in seconds, is asked for a sign of life.
PING_AFTER: Final = 10.0

_MESSAGES: Final = (b"message", b"smessage")
_SUBSCRIBED: Final = (b"subscribe", b"ssubscribe")


class Subscription:
    """
    The keys of one connection. *sharded*: as on a cluster, by sharded pub/sub.
    """

    def __init__(self, *, sharded: bool) -> None:
        self._sharded = sharded
        self.keys: set[str] = set()
        #: Those whose subscription the server has not confirmed.
        self.unconfirmed: set[str] = set()
        #: Those that rang.
        self.rang: set[str] = set()
        #: Those that another node serves by now; they are no longer among `keys`.
        self.lost: set[str] = set()
        #: The slots that have moved, with what the node says of it.
        self.moves: dict[int, exceptions.MovedError | None] = {}

    def subscribe(self, keys: Collection[str]) -> list[Command]:
        """
        Return the commands that subscribe to *keys*.
        """
        self.keys.update(keys)
        self.unconfirmed.update(keys)
        return self._commands("SUBSCRIBE", keys)

    def unsubscribe(self, keys: Iterable[str]) -> list[Command]:
        """
        Return the commands that end the subscription to those of *keys* that are among ours.
        """
        gone = self.keys.intersection(keys)
        self.keys -= gone
        self.unconfirmed -= gone
        return self._commands("UNSUBSCRIBE", gone)

    def clear(self) -> None:
        """
        Forget what was heard and lost, once it has been taken over.
        """
        self.rang.clear()
        self.lost.clear()
        self.moves.clear()

    def _commands(self, name: str, keys: Collection[str]) -> list[Command]:
        if self._sharded:  # where one command takes no channels of different slots
            return [(f"S{name}", key) for key in keys]
        return [(name, *batch) for batch in batches(keys)]

    def take(self, message: Any) -> None:
        """
        Take in a message, or an error among them, which is raised if it ends the connection.
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
        elif kind == b"sunsubscribe" and key in self.keys and key not in self.unconfirmed:
            self._lose({key}, slot_of(key), None)  # not at our request

    def _lose(self, keys: set[str], slot: int, error: exceptions.MovedError | None) -> None:
        self.keys -= keys
        self.unconfirmed -= keys
        self.lost |= keys
        self.moves[slot] = error
