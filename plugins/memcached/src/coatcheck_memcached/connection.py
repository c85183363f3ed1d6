"""
One connection to one server: the driver's client, bound by a deadline, and what is asked over it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError, MemcacheUnknownError

from coatcheck.plugin import lookups, monotonic, pass_on_interruption, wall

from .errors import error_in, is_transient, is_unauthenticated
from .replies import Replies
from .settings import Place, Settings, label_of
from .sockets import Sockets

#: What an item takes besides its key and value: 59 bytes in Memcached 1.6, more in older ones.
_OVERHEAD: Final = 100
_LONGEST_NAME: Final = 250
#: How long what a server said of its clock is relied on, in seconds.
_CLOCK_AGE: Final = 60.0

#: From which Memcached on `ms` is known to tell tokens rightly.
_TELLING: Final = (1, 6, 18)

#: A value, and what stands for exactly that value, empty where it was not asked for.
Stored = tuple[bytes, str]


class Connection(Client):
    """
    Connects when it is first used, and again after `close`. Of one thread at a time.

    All of it raises the driver's errors, or an `OSError`. After any error what is left unread
    would answer the next command: the connection has to be closed then.
    """

    def __init__(self, place: Place, settings: Settings) -> None:
        self._sockets = Sockets("" if isinstance(place, str) else place[0], settings)
        super().__init__(
            place,
            connect_timeout=settings.connect_timeout,
            no_delay=True,
            default_noreply=False,
            socket_module=self._sockets,
        )
        self.sock: Any = None
        self.label = label_of(place)
        #: The largest value that the server takes, in bytes; `None` where it does not say.
        self.max_value_bytes: int | None = None
        #: Whether the server has `cas`.
        self.has_cas = True
        #: Stands for the connection from its opening to its end, to one and the same server with
        #: one memory, where the server answers to `ms` by which token a value is replaced. A
        #: server that was started anew counts its tokens from the beginning.
        self.session: object = None
        self._max_item_size = settings.max_item_size
        self._clock: tuple[float, float] | None = None
        self._replies: Replies
        #: Whether more came than was asked for, so that nothing else may be.
        self._spent = False

    def begin(self, end: float) -> None:
        """
        Be bound by *end*, on the monotonic clock, from now on. Connect, and learn what the server
        takes, where it is not connected.
        """
        self._sockets.end = end
        if self._spent:
            self.close()
        if self.sock is None:
            self._clock = self.session = None
            self._connect()
            self._ask_settings()

    def _ask_settings(self) -> None:
        size = self._max_item_size
        if size is None:
            said = self._said("settings")
            self.has_cas = said.get(b"cas_enabled") != b"no"
            size = _number(said.get(b"item_size_max"))
            if self.has_cas and _is_telling(self._said().get(b"version", b"")):
                self.session = object()
        self.max_value_bytes = None if size is None else size - _OVERHEAD - _LONGEST_NAME

    def _said(self, *what: str) -> dict[bytes, bytes]:
        """
        Return what the server says of itself. What stands between (a proxy) may not know the
        command.
        """
        # Not by the driver, which goes on in spite of whatever is raised while it reads numbers.
        replies = self._ask(" ".join(("stats", *what)).encode() + b"\r\n")
        said: dict[bytes, bytes] = {}
        try:
            while (line := replies.line()) != b"END":
                word, _, rest = line.partition(b" ")
                if word != b"STAT":
                    raise error_in(line)
                name, _, value = rest.partition(b" ")
                said[name] = value
        except MemcacheClientError as error:
            if is_transient(error) or is_unauthenticated(error):
                raise
        self._answered(replies)
        return said

    def now(self) -> float:
        """
        Return the Unix time by the server's clock, up to two seconds late; ours where it does not
        say.
        """
        moment = monotonic()
        if self._clock is None or moment - self._clock[1] > _CLOCK_AGE:
            said = _number(self._said().get(b"time"))
            self._clock = (wall() if said is None else said, moment)
        at, then = self._clock
        return at + moment - then

    def close(self) -> None:
        """
        Close the socket; the next `begin` connects again.
        """
        # The driver's own goes on in spite of whatever is raised.
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()

    # -- questions and answers -----------------------------------------------------------------

    def stored(self, names: Mapping[str, object], *, tokens: bool = False) -> dict[str, Stored]:
        """
        Return what is stored under *names*; absent ones are left out.
        """
        # All in one command: the server reads it to its end before it begins to answer.
        replies = self._ask(f"{'gets' if tokens else 'get'} {' '.join(names)}\r\n".encode())
        found: dict[str, Stored] = {}
        while (line := replies.line()) != b"END":
            name, size, token = _described(line, tokens=tokens)
            if name not in names:  # somebody else asked for it
                raise error_in(line)
            found[name] = replies.block(size), token
        self._answered(replies)
        return found

    def lines(self, commands: Sequence[bytes]) -> list[bytes]:
        """
        Send *commands*, and return the reply of each, a line.
        """
        # Over TLS Memcached 1.6 may forget what it has decrypted behind the command it is at,
        # until more comes: there one command follows the reply to the one before.
        if self._sockets.tls_context is not None and len(commands) > 1:
            return [line for command in commands for line in self.lines([command])]
        replies = self._ask(b"".join(commands))
        lines = [replies.line() for _ in commands]
        self._answered(replies)
        return lines

    def _ask(self, command: bytes) -> Replies:
        if self.sock is None or self._spent:
            raise MemcacheUnknownError("more than the reply came before")
        self.sock.sendall(command)
        return self._replies

    def _answered(self, replies: Replies) -> None:
        self._spent = not replies.end()

    # -- the driver's, protected --------------------------------------------------------------

    def _connect(self) -> None:
        # The driver tries the first address of a name alone.
        addresses = self._addresses()
        for left in range(len(addresses), 0, -1):
            self._sockets.found = addresses[-left:]
            try:
                super()._connect()
                self._replies, self._spent = Replies(self.sock), False
                break
            except OSError as error:
                pass_on_interruption(error)
                if left == 1:
                    raise

    def _addresses(self) -> list[Any]:
        if isinstance(self.server, str):
            return [self.server]
        try:
            host, port = self.server
            return lookups.addresses(host, port, self._sockets.end - monotonic())
        except ValueError as error:  # a host that no name can be, of which the URL did not tell
            raise OSError(f"there can be no such place: {error}") from error


def _described(line: bytes, *, tokens: bool) -> tuple[str, int, str]:
    """
    Return the name, the size and the token that stand before a value.
    """
    words = line.split(b" ")
    if words[0] != b"VALUE":
        raise error_in(line)
    try:
        name, size = words[1].decode("ascii"), int(words[3])
        token = words[4].decode("ascii") if tokens else ""
    except (LookupError, ValueError) as error:
        raise error_in(line) from error
    if size < 0:
        raise error_in(line)
    return name, size, token


def _number(text: bytes | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _is_telling(version: bytes) -> bool:
    numbers = re.match(rb"(\d+)\.(\d+)\.(\d+)", version)
    return numbers is not None and tuple(map(int, numbers.groups())) >= _TELLING
