"""
One connection to one server: the driver's client, within a deadline, and our own commands.
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
from .settings import Address, Settings, label_of
from .sockets import Sockets

#: The bytes of an item besides its key and value: 59 in Memcached 1.6, more in older versions.
_OVERHEAD: Final = 100
_LONGEST_NAME: Final = 250
#: The seconds after which a server is asked for its time again.
_CLOCK_AGE: Final = 60.0

#: The first Memcached whose `ms` is known to tell the right tokens.
_TELLING: Final = (1, 6, 18)

#: A value, and the token that stands for exactly that value; empty if it was not asked for.
Stored = tuple[bytes, str]


class Connection(Client):
    """
    Connects when it is first used, and again after `close`. For one thread at a time.

    All methods raise the driver's errors, or an `OSError`. After any error the connection must be closed: a
    reply that was not read would answer the next command.
    """

    def __init__(self, address: Address, settings: Settings) -> None:
        self._sockets = Sockets("" if isinstance(address, str) else address[0], settings)
        super().__init__(
            address,
            connect_timeout=settings.connect_timeout,
            no_delay=True,
            default_noreply=False,
            socket_module=self._sockets,
        )
        self.sock: Any = None
        self.label = label_of(address)
        #: The largest value that the server takes, in bytes; `None` if it does not tell.
        self.max_value_bytes: int | None = None
        #: Whether the server has `cas`.
        self.has_cas = True
        #: Stands for this connection until it ends, if the server's replies to `ms` tell the token by which
        #: the value can be replaced. A server that was restarted counts its tokens from the beginning.
        self.session: object = None
        self._max_item_size = settings.max_item_size
        self._clock: tuple[float, float] | None = None
        self._replies: Replies
        #: Whether bytes came that nobody asked for, so that the connection cannot be used again.
        self._spent = False

    def begin(self, end: float) -> None:
        """
        Keep to *end*, on the monotonic clock, from now on. Connect if necessary, and ask for the server's
        limits.
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
            told = self.stats("settings")
            self.has_cas = told.get(b"cas_enabled") != b"no"
            size = _number(told.get(b"item_size_max"))
            if self.has_cas and _is_telling(self.stats().get(b"version", b"")):
                self.session = object()
        self.max_value_bytes = None if size is None else size - _OVERHEAD - _LONGEST_NAME

    def stats(self, *names: str) -> dict[bytes, bytes]:
        """Return the server's statistics; nothing if a proxy does not know the command."""
        # The driver's own method swallows exceptions of signal handlers while it reads numbers.
        replies = self._ask(" ".join(("stats", *names)).encode() + b"\r\n")
        told: dict[bytes, bytes] = {}
        try:
            while (line := replies.line()) != b"END":
                word, _, rest = line.partition(b" ")
                if word != b"STAT":
                    raise error_in(line)
                name, _, value = rest.partition(b" ")
                told[name] = value
        except MemcacheClientError as error:
            if is_transient(error) or is_unauthenticated(error):
                raise
        self._answered(replies)
        return told

    def now(self) -> float:
        """
        Return the Unix time by the server's clock, up to two seconds late, or by ours if it does not tell.
        """
        moment = monotonic()
        if self._clock is None or moment - self._clock[1] > _CLOCK_AGE:
            told = _number(self.stats().get(b"time"))
            self._clock = (wall() if told is None else told, moment)
        at, then = self._clock
        return at + moment - then

    def close(self) -> None:
        """Close the socket; the next `begin` connects again."""
        # The driver's own method swallows exceptions of signal handlers.
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()

    # -- questions and answers -----------------------------------------------------------------

    def stored(self, names: Mapping[str, object], *, tokens: bool = False) -> dict[str, Stored]:
        """Return the values of *names*. Absent ones are left out."""
        # All in one command: the server reads it to its end before it begins to answer.
        replies = self._ask(f"{'gets' if tokens else 'get'} {' '.join(names)}\r\n".encode())
        found: dict[str, Stored] = {}
        while (line := replies.line()) != b"END":
            name, size, token = _described(line, tokens=tokens)
            if name not in names:  # a reply to another command
                raise error_in(line)
            found[name] = replies.block(size), token
        self._answered(replies)
        return found

    def lines(self, commands: Sequence[bytes]) -> list[bytes]:
        """Send *commands*, and return a line for each."""
        # Over TLS, Memcached 1.6 may not notice a command that arrived together with the one before, until
        # more bytes come. So there each command waits for the reply to the one before.
        if self._sockets.tls_context is not None and len(commands) > 1:
            return [line for command in commands for line in self.lines([command])]
        replies = self._ask(b"".join(commands))
        lines = [replies.line() for _ in commands]
        self._answered(replies)
        return lines

    def _ask(self, command: bytes) -> Replies:
        if self.sock is None or self._spent:
            raise MemcacheUnknownError("bytes came after the last reply")
        self.sock.sendall(command)
        return self._replies

    def _answered(self, replies: Replies) -> None:
        self._spent = not replies.end()

    # -- overriding the driver ----------------------------------------------------------------

    def _connect(self) -> None:
        # The driver tries only the first address of a name.
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
        except ValueError as error:  # not all impossible names are noticed in the URL
            raise OSError(f"there can be no such host: {error}") from error


def _described(line: bytes, *, tokens: bool) -> tuple[str, int, str]:
    """Return the name, the size and the token in the line before a value."""
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
