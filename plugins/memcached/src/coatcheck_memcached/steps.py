"""
Reads, deletions, and the election of the first ready record, over one connection to one server.

A step can be repeated from the beginning, over another connection. It does not matter how far the first try came.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from pymemcache.exceptions import MemcacheError

from coatcheck.errors import BackendStoreError, ResultTooLargeError
from coatcheck.plugin import ANY, Codec, Unless

from .connection import Connection, Stored
from .errors import error_in, is_too_large, mapped
from .recent import SOMETHING, Mark

#: 30 days. The server takes a larger number of seconds for a Unix time.
LONGEST_RELATIVE: Final = 2_592_000
#: Seconds to add to a life. The server's clock counts whole seconds and drifts, so that one in some
#: thousand ticks counts for two: a count of n lasts more than n - 2.
MARGIN: Final = 2
#: The token of every value on a server without CAS.
_NONE: Final = "0"
#: The last Unix time of servers that count in 32 bits.
_LAST_TIME: Final = 2**31 - 1


class Step(ABC):
    """Work for one server."""

    writing = True
    #: Whether the work is finished.
    done = False

    @abstractmethod
    def run(self, connection: Connection) -> None:
        """Do the work, and set `done`. Raises the driver's errors, or an `OSError`."""

    def restart(self) -> None:  # noqa: B027 - most are the same each time
        """Begin anew. It is not known whether the server did the work."""

    def check(self, label: str) -> None:  # noqa: B027 - only writes are refused one by one
        """Raise our error if the server called *label* refused."""


class Read(Step):
    """
    Reads values into `found`, by key. Absent keys are left out.

    Args:
        key_of: the key of each name.
    """

    writing = False

    def __init__(self, key_of: Mapping[str, str]) -> None:
        self._key_of = key_of
        self.found: dict[str, bytes] = {}

    @property
    def keys(self) -> Collection[str]:
        """The keys to read."""
        return self._key_of.values()

    def run(self, connection: Connection) -> None:
        key_of = self._key_of
        stored = connection.stored(key_of)
        self.found = {key_of[name]: value for name, (value, _) in stored.items()}
        self.done = True


class Delete(Step):
    """Deletes, and counts the records that were there."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self.count = 0

    def run(self, connection: Connection) -> None:
        lines = connection.lines([f"delete {name}\r\n".encode() for name in self._names])
        for line in lines:
            if line not in (b"DELETED", b"NOT_FOUND"):
                raise error_in(line)
        self.count = lines.count(b"DELETED")
        self.done = True


class Write(Step):
    """
    One record on its way. `won` says whether it became the record, and is `None` until that is known.

    If nothing is there, `add` makes it the record; only the first write can do that. Otherwise `gets` reads
    the current record, and `cas` replaces it if it may be replaced. `cas` fails if anything was written in
    between; then `gets` reads again. A record that this very connection wrote is not read: its state is
    known, and the server told its token.

    Args:
        before: the mark of the record that is likely there, so that `add` would fail.
    """

    def __init__(
        self,
        name: str,
        value: bytes,
        codec: Codec,
        *,
        unless: Unless,
        if_match: bytes | None = None,
        expires: float | None,
        before: Mark | None = None,
    ) -> None:
        self.name = name
        self.won: bool | None = None
        #: For the next write under this name.
        self.mark = SOMETHING
        #: Whether to read the current record next.
        self.looking = before is not None or if_match is not None
        self._before = before
        self._value = value
        self._codec = codec
        self._unless = unless
        self._if_match = if_match
        self._expires = expires
        #: Stands for exactly the current record, which may be replaced.
        self._token: str | None = None
        self._exptime = 0
        #: Set if the server must tell the new token, because the record may be replaced.
        self._session: object = None
        self._state: str | None = None
        self._error: MemcacheError | None = None

    def restart(self) -> None:
        # The current record may be this very one.
        self._token = self._before = None
        self.looking = True

    def run(self, connection: Connection) -> None:
        self.prepare(connection)
        while self.won is None:
            if self.looking:
                self.saw(connection.stored({self.name: self}, tokens=True).get(self.name))
            else:
                (line,) = connection.lines([self.command(connection)])
                self.answered(line)
        self.done = True

    def prepare(self, connection: Connection) -> None:
        """
        Check the size and choose the command, before anything is sent. Raises `ResultTooLargeError`.
        """
        limit = connection.max_value_bytes
        if limit is not None and len(self._value) > limit:
            raise self._too_large(limit)
        if self._expires is not None:
            self._exptime = exptime(self._expires, connection)
        if connection.session is not None and self._unless:
            self._prepare_tokens(connection.session, self._unless)

    def _prepare_tokens(self, session: object, unless: Unless) -> None:
        state = self._codec.state_of(self._value)
        if unless is ANY:
            self._session, self._state = session, state
            return
        if state not in unless:
            self._session, self._state = session, state
        before = self._before
        known = before is not None and before.session is session and self._if_match is None
        if before is not None and known and before.state not in unless:
            self._token, self.looking = before.token, False

    def _too_large(self, limit: int) -> ResultTooLargeError:
        task_id = self._codec.id_of(self._value)
        return ResultTooLargeError(str(task_id), size=len(self._value), limit=limit)

    def command(self, connection: Connection) -> bytes:
        """Return the command that writes the record."""
        if self._token is not None and (self._token == _NONE or not connection.has_cas):
            raise BackendStoreError(
                f"{connection.label} was started without CAS (-C), so that no record can be "
                "replaced safely: start it with CAS"
            )
        head = self._plain_head() if self._session is None else self._telling_head()
        return b"%b\r\n%b\r\n" % (head.encode(), self._value)

    def _plain_head(self) -> str:
        verb, token = "add", ""
        if self._token is not None:
            verb, token = "cas", f" {self._token}"
        elif not self._unless:
            verb = "set"
        return f"{verb} {self.name} 0 {self._exptime} {len(self._value)}{token}"

    def _telling_head(self) -> str:
        # The same as a meta command, to which the server replies the new token.
        mode = "ME" if self._token is None else f"C{self._token}"
        return f"ms {self.name} {len(self._value)} T{self._exptime} {mode} c"

    def saw(self, there: Stored | None) -> None:
        """Judge the current record."""
        current, token = there or (None, None)
        self.looking = False
        if current == self._value:
            self.won = True
        elif self._if_match is not None:
            self._token = token
            if current != self._if_match:
                self.won = False
        elif current is not None:
            self._token = token
            if self._unless is ANY or self._codec.state_of(current) in self._unless:
                self.won = False

    def answered(self, line: bytes) -> None:
        """Take the reply to `command`."""
        word, _, rest = line.partition(b" ")
        if word == b"STORED":
            self.won = True
        elif word == b"HD":
            self.won = True
            token = rest.removeprefix(b"c")
            if token.isdigit():
                self.mark = Mark(self._state, token.decode(), self._session)
        elif word in _REFUSALS:
            # Another record was there, or came in between.
            self.restart()
        elif word == b"SERVER_ERROR":
            self._error = error_in(line)
            self.won = False
        else:
            raise error_in(line)

    def check(self, label: str) -> None:
        if self._error is None:
            return
        if is_too_large(self._error):
            raise self._too_large(len(self._value) - 1) from self._error
        raise mapped(self._error, label, writing=True) from self._error


#: Replies to `add` and to `cas`, and the short ones of `ms`.
_REFUSALS: Final = frozenset({b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"NS", b"EX", b"NF"})


class Writes(Step):
    """Records at one server, each like `Write`, in rounds."""

    def __init__(self, writes: Sequence[Write]) -> None:
        self._writes = writes

    def restart(self) -> None:
        for write in self._writes:
            write.restart()

    def run(self, connection: Connection) -> None:
        left = [write for write in self._writes if write.won is None]
        for write in left:
            write.prepare(connection)
        while left:
            # Never both at once: the values read could fill the way back before all commands are sent.
            if asked := [write for write in left if write.looking]:
                names = {write.name: write for write in asked}
                found = connection.stored(names, tokens=True)
                for write in asked:
                    write.saw(found.get(write.name))
            else:
                # All replies first: if one is lost, all are uncertain.
                lines = connection.lines([write.command(connection) for write in left])
                for write, line in zip(left, lines, strict=True):
                    write.answered(line)
            left = [write for write in left if write.won is None]
        self.done = True

    def check(self, label: str) -> None:
        for write in self._writes:
            write.check(label)


def exptime(expires: float, connection: Connection) -> int:
    """
    Return the expiration time of a record that lives for at least *expires* seconds. 0 means for ever, also
    if the server cannot count as far.
    """
    seconds = math.ceil(expires) + MARGIN
    if seconds > LONGEST_RELATIVE:
        seconds = math.ceil(connection.now() + seconds)
    return seconds if seconds <= _LAST_TIME else 0
