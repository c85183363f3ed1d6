"""
What is said over a connection: reads, deletions, and the election of the first ready record.

A step is done over one connection to one server: prepared, sent, received. It can be done again
from the beginning, over another connection, whatever became of the first time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Final

from pymemcache.exceptions import MemcacheError

from coatcheck.backend import ANY, Unless
from coatcheck.codec import Codec
from coatcheck.errors import BackendStoreError, ResultTooLargeError

from .connection import Connection
from .errors import error_in, is_too_large, mapped

#: More seconds than these the server takes for a Unix time: 30 days.
LONGEST_RELATIVE: Final = 2_592_000
#: What is added to a life, in seconds. The server's clock has whole seconds, ticks once a second
#: and drifts, so that one in some thousand ticks counts for two: a count of n lasts more than n - 2.
MARGIN: Final = 2
#: Up to this size a record is sent along with the question what is there. More could fill the way
#: to the server while it waits for its answer to be read.
_TOGETHER: Final = 16_384
#: What Unix times fit into, for servers that count in 32 bits.
_LAST_TIME: Final = 2**31 - 1


class Step(ABC):
    """
    Something to do at one server.
    """

    #: Whether something is written.
    writing = True
    #: Whether nothing is left to do.
    done: bool = False

    def prepare(self, connection: Connection) -> None:  # noqa: B027 - not all have to
        """
        Find out what has to be known before anything is sent.
        """

    @abstractmethod
    def send(self, connection: Connection) -> None:
        """
        Send commands.
        """

    @abstractmethod
    def receive(self, connection: Connection) -> None:
        """
        Receive all their replies.
        """

    def restart(self) -> None:  # noqa: B027 - most are the same each time
        """
        Begin anew: it is not known whether what was sent took place.
        """


class Read(Step):
    """
    Reads values into `found`, by their names. Absent ones are left out.
    """

    writing = False

    def __init__(self, names: Sequence[bytes]) -> None:
        self.names = names
        self.found: dict[bytes, bytes] = {}

    def send(self, connection: Connection) -> None:
        # All in one command: the server reads it to its end before it begins to answer.
        connection.send(b"get " + b" ".join(self.names) + b"\r\n")

    def receive(self, connection: Connection) -> None:
        found = _values(connection, 4, self.names)
        self.found = {name: value for name, (value, _) in found.items()}
        self.done = True


class Delete(Step):
    """
    Deletes, and counts how many there were.
    """

    def __init__(self, names: Sequence[bytes]) -> None:
        self.names = names
        self.count = 0

    def send(self, connection: Connection) -> None:
        connection.send(b"".join([b"delete " + name + b"\r\n" for name in self.names]))

    def receive(self, connection: Connection) -> None:
        count = 0
        for _ in self.names:
            line = connection.line()
            if line == b"DELETED":
                count += 1
            elif line != b"NOT_FOUND":
                raise error_in(line)
        self.count = count
        self.done = True


class Write:
    """
    One record on its way: `won` is whether it is the record, `None` until that is known.

    Where nothing is, `add` makes it the record, which only the first can do. What is there is read
    by `gets`, judged, and replaced by `cas`, which fails if anything was written in between; then
    it is looked at anew. `error` is what the server has against it.
    """

    __slots__ = ("error", "if_match", "looking", "name", "token", "value", "won")

    def __init__(self, name: bytes, value: bytes, if_match: bytes | None = None) -> None:
        self.name = name
        self.value = value
        self.if_match = if_match
        self.won: bool | None = None
        self.error: MemcacheError | None = None
        self.restart()

    def restart(self) -> None:
        """
        Begin anew: what is there may be this very record.
        """
        #: Stands for exactly what is there, once that was read and may be replaced.
        self.token: bytes | None = None
        #: Whether what is there has to be read.
        self.looking = self.if_match is not None

    def saw(self, found: tuple[bytes, bytes] | None, unless: Unless, codec: Codec) -> None:
        """
        Take in what is there, with its token.
        """
        current, token = found or (None, None)
        self.looking = False
        if current == self.value:
            self.won = True
        elif self.if_match is not None:
            if current == self.if_match:
                self.token = token
            else:
                self.won = False
        elif current is not None:
            if unless is ANY or codec.state_of(current) in unless:
                self.won = False
            else:
                self.token = token

    def answered(self, line: bytes) -> None:
        """
        Take in the reply to a write.
        """
        if line == b"STORED":
            self.won = True
        elif line.startswith(b"SERVER_ERROR"):
            self.error = error_in(line)
        elif line in _REFUSALS:
            # Something else was there, or came in between.
            self.token = None
            self.looking = True
        else:
            raise error_in(line)


#: Replies to `add` and to `cas`.
_REFUSALS: Final = frozenset({b"NOT_STORED", b"EXISTS", b"NOT_FOUND"})


class Writes(Step):
    """
    Elects records at one server.
    """

    def __init__(
        self, writes: Sequence[Write], *, unless: Unless, expires: float | None, codec: Codec
    ) -> None:
        self.writes = writes
        self._unless = unless
        self._expires = expires
        self._codec = codec
        self._open = list(writes)
        self._names: list[bytes] = []
        self._asked: list[Write] = []
        self._sent: list[Write] = []
        #: How a record that nothing stands in the way of is written.
        self._verb = b"set " if unless == frozenset() else b"add "
        self._exptime = b"0"

    def restart(self) -> None:
        for write in self._open:
            write.restart()

    def prepare(self, connection: Connection) -> None:
        self._check_sizes(connection.max_value_bytes)
        if self._expires is not None:
            self._exptime = b"%d" % exptime(self._expires, connection)

    def _check_sizes(self, limit: int | None) -> None:
        for write in self._open:
            if limit is not None and len(write.value) > limit:
                raise self._too_large(write, limit)

    def _too_large(self, write: Write, limit: int) -> ResultTooLargeError:
        task_id = self._codec.decode("", write.value).document.get("task_id")
        return ResultTooLargeError(str(task_id), size=len(write.value), limit=limit)

    def send(self, connection: Connection) -> None:
        asked = [write for write in self._open if write.looking]
        sent = [write for write in self._open if not write.looking]
        commands = [self._command(write, connection) for write in sent]
        names = [write.name for write in asked]
        if sum(map(len, commands)) > _TOGETHER:
            if asked:
                sent, commands = [], []
        elif self._verb == b"add ":
            # One round trip less where something is there.
            names += [write.name for write in sent if write.token is None]
        if names:
            commands.insert(0, b"gets " + b" ".join(names) + b"\r\n")
        self._names, self._asked, self._sent = names, asked, sent
        connection.send(b"".join(commands))

    def _command(self, write: Write, connection: Connection) -> bytes:
        verb, token = self._verb, b""
        if write.token is not None:
            if not connection.has_cas:
                raise BackendStoreError(
                    f"{connection.label} was started without CAS (-C), so that no record can be "
                    "replaced safely: start it with CAS"
                )
            verb, token = b"cas ", b" " + write.token
        value = write.value
        head = b"%b%b 0 %b %d%b\r\n" % (verb, write.name, self._exptime, len(value), token)
        return head + value + b"\r\n"

    def receive(self, connection: Connection) -> None:
        found = _values(connection, 5, self._names) if self._names else {}
        # All replies first: one that is lost makes all of them uncertain.
        lines = [connection.line() for _ in self._sent]
        for write, line in zip(self._sent, lines, strict=True):
            write.answered(line)
            # Who came in between was not seen, and is looked at next.
            if write.looking and write.name in found:
                write.saw(found[write.name], self._unless, self._codec)
        for write in self._asked:
            write.saw(found.get(write.name), self._unless, self._codec)
        self._open = [w for w in self._open if w.won is None and w.error is None]
        self.done = not self._open

    def check(self, label: str) -> None:
        """
        Raise what the server at *label* has against one of the records.
        """
        for write in self.writes:
            if write.error is not None:
                if is_too_large(write.error):
                    raise self._too_large(write, len(write.value) - 1) from write.error
                raise mapped(write.error, label, writing=True) from write.error


def _values(
    connection: Connection, width: int, names: Collection[bytes]
) -> dict[bytes, tuple[bytes, bytes]]:
    """
    Read values and their tokens, by name. A reply to `get` is of *width* 4, one to `gets` of 5.
    """
    found = {}
    names = frozenset(names)
    while (line := connection.line()) != b"END":
        parts = line.split(b" ")
        if parts[0] != b"VALUE" or len(parts) != width or not parts[3].isdigit():
            raise error_in(line)
        if parts[1] not in names:
            raise error_in(line)  # the answer to somebody else's question
        found[parts[1]] = (connection.value(int(parts[3])), parts[-1])
    return found


def exptime(expires: float, connection: Connection) -> int:
    """
    Return what the server is to be told so that a record lives for *expires* seconds at least.

    0 stands for ever, and for what is after the last time that the server can count.
    """
    seconds = math.ceil(expires) + MARGIN
    if seconds > LONGEST_RELATIVE:
        seconds = math.ceil(connection.now() + seconds)
    return seconds if seconds <= _LAST_TIME else 0
