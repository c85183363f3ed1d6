"""
Where the keys of a cluster are, and where commands for them go next. No I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from redis import exceptions
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from coatcheck.plugin import Attempts, Operation

from .errors import is_transient
from .script import Command, Reply, key_of
from .settings import Node

#: Asks a node for all slots, each with the node that serves it.
SLOTS: Final[Command] = ("CLUSTER", "SLOTS")
#: The part of an operation's time that the answer may take.
SLOTS_PART: Final = 1 / 8


def slot_of(key: str) -> int:
    """Return the slot of *key*."""
    return key_slot(key.encode("utf-8", "surrogateescape"))


class Topology:
    """
    The node of each slot, as far as is known. Shared by threads.

    Args:
        seeds: the nodes to ask first.
    """

    def __init__(self, seeds: Collection[Node]) -> None:
        self._seeds = seeds
        self._owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        #: Whether a node must be asked for the slots before the next command.
        self.stale = True
        #: The node that failed last. It is asked last.
        self._suspect: Node | None = None

    def refreshing(self, attempts: Attempts) -> Operation[Node, None]:
        """
        Ask one node after the other for the slots. A reply may be an error. The last one is raised
        if no node answers.
        """
        refusal: Exception = exceptions.ConnectionError("no node can be reached")
        candidates = dict.fromkeys([*self.nodes, *self._seeds])
        for node in sorted(candidates, key=lambda node: node == self._suspect):
            if not attempts.may_try:
                break
            reply = yield node
            if not isinstance(reply, Exception):
                return self._learn(reply, node)
            refusal = reply
        raise refusal

    def _learn(self, reply: Sequence[Reply], asked: Node) -> None:
        owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for start, end, primary, *_ in reply:
            # A node that does not know its own name leaves it out.
            host = primary[0].decode() if primary[0] else asked[0]
            node = (asked[0] if host == "?" else host, int(primary[1]))
            owners[start : end + 1] = [node] * (end + 1 - start)
        self._owners = owners
        self.stale = False

    def owner(self, key: str) -> Node:
        """Return the node that serves *key*. Raises the driver's error if no node does."""
        slot = slot_of(key)
        node = self._owners[slot]
        if node is None:
            self.stale = True
            raise exceptions.ClusterDownError(f"CLUSTERDOWN no node serves slot {slot}")
        return node

    def group(self, keys: Iterable[str]) -> dict[Node | None, list[str]]:
        """Return the *keys* of each node."""
        groups: dict[Node | None, list[str]] = {}
        for key in keys:
            groups.setdefault(self.owner(key), []).append(key)
        return groups

    def moved(self, error: exceptions.MovedError, asked: Node) -> None:
        """Note that the node *asked* named another one for a slot."""
        self._owners[error.slot_id] = redirect(error, asked)

    def failed(self, node: Node) -> None:
        """Note that *node* could not be reached."""
        self.stale = True
        self._suspect = node

    @property
    def nodes(self) -> list[Node]:
        """All primaries that serve a slot, in the same order for all threads."""
        return sorted({node for node in self._owners if node is not None})


def redirect(error: exceptions.AskError, asked: Node) -> Node:
    """Return the node that a redirection names. Without a host it is the node *asked*."""
    return error.host or asked[0], error.port


@dataclass
class Batch:
    """Commands for one node, sent together."""

    node: Node
    commands: list[Command] = field(default_factory=list)
    #: The number of each command in the errand; `None` for a command that only precedes another.
    numbers: list[int | None] = field(default_factory=list)

    def add(self, command: Command, number: int | None) -> None:
        """Add a command."""
        self.commands.append(command)
        self.numbers.append(number)


class Errand:
    """
    Commands for several nodes, in as many rounds as it takes until all have a final reply.

    Args:
        node: where all commands go; `None` sends each to the node of its key.
    """

    def __init__(self, commands: Sequence[Command], topology: Topology, node: Node | None) -> None:
        self._asked_for = len(commands)
        self._commands = list(commands)
        self._topology = topology
        self._node = node
        self._open = set(range(len(commands)))
        #: The commands that a node told us to ask another node, once.
        self._redirected: dict[int, Node] = {}
        self._replies: list[Reply] = [None] * len(commands)
        self._error: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether a command has no final reply yet."""
        return bool(self._open)

    @property
    def outcome(self) -> list[Reply]:
        """The replies to the commands."""
        return self._replies[: self._asked_for]

    def check(self) -> None:
        """Raise the error for which a command is still open after a round."""
        if self._error is not None:
            raise self._error

    def batches(self) -> list[Batch]:
        """
        Return the commands to send now, a batch for each node.

        The order is the same for all threads, which may have to wait for each other's connections.
        """
        self._error = None
        batches: dict[Node, Batch] = {}
        for number in sorted(self._open):
            command = self._commands[number]
            redirected = self._redirected.get(number)
            node = redirected or self._node or self._topology.owner(key_of(command))
            batch = batches.setdefault(node, Batch(node))
            if redirected is not None:
                batch.add(("ASKING",), None)
            batch.add(command, number)
        return [batches[node] for node in sorted(batches)]

    def absorb(self, batch: Batch, replies: Sequence[Reply]) -> None:
        """Take the replies of a node."""
        for number, reply in zip(batch.numbers, replies, strict=True):
            if number is None:
                continue
            redirected = self._redirected.pop(number, None)
            if isinstance(reply, Exception) and self._must_repeat(number, reply, batch.node):
                self._error = _unsettled(reply)
                continue
            self._open.discard(number)
            self._replies[number] = reply
            if redirected is not None and not isinstance(reply, Exception):
                self._ring(self._commands[number])

    def _must_repeat(self, number: int, reply: Exception, node: Node) -> bool:
        if isinstance(reply, exceptions.MovedError):
            self._topology.moved(reply, node)
        elif isinstance(reply, exceptions.AskError):
            self._redirected[number] = redirect(reply, node)
        elif is_transient(reply):
            self._topology.stale = True
        else:
            return False
        return True

    def _ring(self, command: Command) -> None:
        # While a slot moves, its subscribers are still with the node that it leaves.
        if command[0].startswith("EVAL"):
            self._open.add(len(self._commands))
            self._commands.append(("SPUBLISH", key_of(command), ""))
            self._replies.append(None)

    def failed(self, batch: Batch, error: Exception) -> None:
        """Note that a node could not be reached."""
        self._topology.failed(batch.node)
        self._error = error


def _unsettled(reply: Exception) -> Exception:
    """Return *reply* as an error that says "not now"."""
    return reply if is_transient(reply) else exceptions.TryAgainError(f"redirected: {reply}")
