"""
Where the keys of a cluster are, and where commands for them have to go next. No I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis import exceptions
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from .errors import is_noscript, is_transient
from .script import SHARDED, Command, key_of
from .settings import Node

#: Asks a node for all slots and who serves them.
SLOTS: Final[Command] = ("CLUSTER", "SLOTS")
#: What part of an operation's time its answer may take.
SLOTS_PART: Final = 1 / 8


def slot_of(key: str) -> int:
    """
    Return the slot of *key*.
    """
    return key_slot(key.encode("utf-8", "surrogateescape"))


class Topology:
    """
    Which node serves which slot, as far as is known. Shared by threads.
    """

    def __init__(self) -> None:
        self._owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        #: Whether it has to be asked for anew.
        self.stale = True
        #: The node that failed last: it is asked last.
        self.suspect: Node | None = None

    def learn(self, reply: Sequence[Any], asked: Node) -> None:
        """
        Take in the answer to `SLOTS` of the node *asked*.
        """
        owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for start, end, primary, *_ in reply:
            # A node that does not know its own name leaves it out.
            host = primary[0].decode() if primary[0] else asked[0]
            node = (asked[0] if host == "?" else host, int(primary[1]))
            owners[start : end + 1] = [node] * (end + 1 - start)
        self._owners = owners
        self.stale = False

    def owner(self, key: str) -> Node:
        """
        Return the node that serves *key*. Raises the driver's error if there is none.
        """
        slot = slot_of(key)
        node = self._owners[slot]
        if node is None:
            self.stale = True
            raise exceptions.ClusterDownError(f"CLUSTERDOWN no node serves slot {slot}")
        return node

    def group(self, keys: Iterable[str]) -> dict[Node | None, list[str]]:
        """
        Return which of *keys* each node serves.
        """
        groups: dict[Node | None, list[str]] = {}
        for key in keys:
            groups.setdefault(self.owner(key), []).append(key)
        return groups

    def moved(self, error: exceptions.MovedError, asked: Node) -> None:
        """
        Take in that the node *asked* named another one for a slot.
        """
        self._owners[error.slot_id] = redirect(error, asked)

    @property
    def nodes(self) -> list[Node]:
        """
        All primaries that serve something, in one order for all threads.
        """
        return sorted({node for node in self._owners if node is not None})

    def to_ask(self, seeds: Iterable[Node]) -> list[Node]:
        """
        Return the nodes to ask for the slots, in turn.
        """
        return sorted(dict.fromkeys([*self.nodes, *seeds]), key=lambda node: node == self.suspect)


def redirect(error: exceptions.AskError, asked: Node) -> Node:
    """
    Return the node that a redirection names; without a host it is the one that was asked.
    """
    return error.host or asked[0], error.port


@dataclass
class Batch:
    """
    What goes to one node in one piece.
    """

    node: Node
    commands: list[Command] = field(default_factory=list)
    #: For each of the commands which one of the errand it is, or `None` if it only helps one.
    places: list[int | None] = field(default_factory=list)

    def add(self, command: Command, place: int | None) -> None:
        """
        Add a command.
        """
        self.commands.append(command)
        self.places.append(place)


class Errand:
    """
    Commands that go to several nodes, in as many rounds as it takes until all have a final reply.
    """

    def __init__(self, commands: Sequence[Command], topology: Topology, place: Node | None) -> None:
        self._commands = list(commands)
        self._topology = topology
        self._place = place
        self._open = set(range(len(commands)))
        self._asked: dict[int, Node] = {}
        self._unscripted: set[Node] = set()
        # Which commands lacked the script, and how often: it may be flushed in between.
        self._lacking: Counter[int] = Counter()
        self.replies: list[Any] = [None] * len(commands)
        #: Why something is open still, after a round.
        self.error: Exception | None = None

    @property
    def is_open(self) -> bool:
        """
        Whether there is something to send.
        """
        return bool(self._open)

    def batches(self) -> list[Batch]:
        """
        Return what to send now: one batch for each node, in one order for all threads, who may
        have to wait for each other's connections.
        """
        self.error = None
        batches: dict[Node, Batch] = {}
        for place in sorted(self._open):
            self._add(place, batches)
        return [batches[node] for node in sorted(batches)]

    def _add(self, place: int, batches: dict[Node, Batch]) -> None:
        command = self._commands[place]
        asked = self._asked.get(place)
        node = asked or self._place or self._topology.owner(key_of(command))
        batch = batches.setdefault(node, Batch(node))
        if asked is not None:
            batch.add(("ASKING",), None)
        lacks = node in self._unscripted or self._lacking[place] > 1
        if lacks and command[0] == "EVALSHA":
            self._unscripted.discard(node)
            command = SHARDED.bringing(command)
        batch.add(command, place)

    def absorb(self, batch: Batch, replies: Sequence[Any]) -> None:
        """
        Take in a node's replies.
        """
        for place, reply in zip(batch.places, replies, strict=True):
            if place is None:
                continue
            asked = self._asked.pop(place, None)
            if isinstance(reply, Exception) and self._is_to_repeat(place, reply, batch.node):
                self.error = _unsettled(reply)
                continue
            self._open.discard(place)
            self.replies[place] = reply
            if asked is not None:
                self._ring(self._commands[place])

    def _is_to_repeat(self, place: int, reply: Exception, node: Node) -> bool:
        if isinstance(reply, exceptions.MovedError):
            self._topology.moved(reply, node)
        elif isinstance(reply, exceptions.AskError):
            self._asked[place] = redirect(reply, node)
        elif is_noscript(reply):
            self._unscripted.add(node)
            self._lacking[place] += 1
        elif is_transient(reply):
            self._topology.stale = True
        else:
            return False
        return True

    def _ring(self, command: Command) -> None:
        # While a slot is on its way, its subscribers are with the node it leaves.
        if command[0].startswith("EVAL"):
            self._open.add(len(self._commands))
            self._commands.append(("SPUBLISH", key_of(command), ""))
            self.replies.append(None)

    def failed(self, batch: Batch, error: Exception) -> None:
        """
        Take in that a node could not be reached.
        """
        self._topology.stale = True
        self._topology.suspect = batch.node
        self.error = error


def _unsettled(reply: Exception) -> Exception:
    """
    Return *reply* as an error that says "not now": it is not yet the answer.
    """
    return reply if is_transient(reply) else exceptions.TryAgainError(f"redirected: {reply}")
