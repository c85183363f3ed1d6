"""
One connection to one server: lines and values, each read by a deadline.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from pymemcache.exceptions import MemcacheUnexpectedCloseError

from .errors import error_in
from .settings import Place, Settings, label_of

#: How much of what makes no sense is shown.
_SHOWN: Final = 40
_CHUNK: Final = 65_536
_LARGE_CHUNK: Final = 1_048_576
#: Up to this size sending never blocks: all before was read by the server.
_SMALL: Final = 16_384
#: No line of the protocol is longer; of what is, no end is to be waited for.
_LONGEST_LINE: Final = 4_096
#: What an item takes besides its key and value: 59 bytes in Memcached 1.6, more in older ones.
_OVERHEAD: Final = 100
_LONGEST_NAME: Final = 250
#: By how much a socket's timeout may differ from what is left, so as not to be set all the time.
_SLACK: Final = 0.05
#: How long what a server said of its clock is relied on, in seconds.
_CLOCK_AGE: Final = 60.0


class Connection:
    """
    Connects when it is first used, and again after `close`. Of one thread at a time.

    All of it raises the driver's errors, or an `OSError`. After an error what is left unread
    would answer the next command: the connection has to be closed then.
    """

    def __init__(self, place: Place, settings: Settings) -> None:
        self.place = place
        self.label = label_of(place)
        #: Which life of its pool it belongs to.
        self.generation = 0
        #: The largest value that the server takes, in bytes; `None` where it does not say.
        self.max_value_bytes: int | None = None
        #: Whether the server has `cas`.
        self.has_cas = True
        self._settings = settings
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._at = 0
        self._held: Sequence[bytes] = ()
        self._end = 0.0
        self._timeout = 0.0
        self._clock: tuple[float, float] | None = None

    @property
    def is_open(self) -> bool:
        """
        Whether it is connected, as far as anybody knows.
        """
        return self._socket is not None

    def begin(self, end: float) -> None:
        """
        Connect where that has to be, and be bound by *end*, on the monotonic clock, from now on.
        """
        self._end = end
        if self._socket is None:
            self._connect()

    def _connect(self) -> None:
        limit = min(self._end, time.monotonic() + self._settings.connect_timeout)
        try:
            self._socket = self._made_socket(limit)
        except ValueError as error:  # a host that no name can be, of which the URL did not tell
            raise OSError(f"there can be no such place: {error}") from error
        self._timeout = 0.0  # unknown
        self._buffer, self._at = b"", 0
        self._clock = None
        try:
            self._ask_settings()
        except BaseException:
            self.close()
            raise

    def _made_socket(self, limit: float) -> socket.socket:
        if isinstance(self.place, str):
            made = socket.socket(socket.AF_UNIX)
            return _connected(made, self.place, limit)
        host, port = self.place
        failure = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            try:
                made = _connected(socket.socket(family, kind, protocol), address, limit)
                break
            except OSError as error:
                failure = error
        else:
            raise failure
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._settings.keepalive:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        context = self._settings.tls_context
        if context is None:
            return made
        try:
            made.settimeout(_left(limit))
            return context.wrap_socket(made, server_hostname=host)
        except BaseException:
            made.close()
            raise

    def _ask_settings(self) -> None:
        """
        Learn what the server takes. What stands between (a proxy) may not know the command.
        """
        size = self._settings.max_item_size
        if size is None:
            said = self.stats(b"settings")
            self.has_cas = said.get(b"cas_enabled") != b"no"
            text = said.get(b"item_size_max", b"")
            size = int(text) if text.isdigit() else None
        self.max_value_bytes = None if size is None else size - _OVERHEAD - _LONGEST_NAME

    def stats(self, what: bytes = b"") -> dict[bytes, bytes]:
        """
        Return what the server says of itself; nothing where it does not know the command.
        """
        self.send(b"stats " + what + b"\r\n" if what else b"stats\r\n")
        found = {}
        while (line := self.line()) != b"END":
            word, _, rest = line.partition(b" ")
            if word in (b"ERROR", b"CLIENT_ERROR") and b"unauthenticated" not in rest:
                break
            if word != b"STAT":
                raise error_in(line)
            name, _, value = rest.partition(b" ")
            found[name] = value
        return found

    def now(self) -> float:
        """
        Return the Unix time by the server's clock, up to two seconds late; ours where it does not
        say.
        """
        moment = time.monotonic()
        if self._clock is None or moment - self._clock[1] > _CLOCK_AGE:
            text = self.stats().get(b"time", b"")
            self._clock = (int(text) if text.isdigit() else time.time(), moment)
        said, then = self._clock
        return said + moment - then

    # -- bytes ----------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """
        Send all of *data*.
        """
        if len(data) > _SMALL:
            self._limit_time(self._end - time.monotonic())
        if self._socket is None:
            raise MemcacheUnexpectedCloseError
        self._socket.sendall(data)

    def send_all(self, commands: Sequence[bytes]) -> None:
        """
        Send *commands*, each of which has a reply of one line, to be read by `replies`.
        """
        # Over TLS Memcached 1.6 may forget what it has decrypted behind the command it is at,
        # until more comes: there one command follows the reply to the one before.
        at_once = len(commands) if self._settings.tls_context is None else 1
        self._held = commands[at_once:]
        self.send(b"".join(commands[:at_once]))

    def replies(self, count: int) -> list[bytes]:
        """
        Return the replies to the *count* commands that were given to `send_all`.
        """
        if not self._held:
            return [self.line() for _ in range(count)]
        lines = []
        for command in self._held:
            lines.append(self.line())
            self.send(command)
        return [*lines, self.line()]

    def line(self) -> bytes:
        """
        Return the next line, without its end.
        """
        while True:
            buffer, at = self._buffer, self._at
            end = buffer.find(b"\r\n", at)
            if end >= 0:
                self._at = end + 2
                return buffer[at:end]
            if len(buffer) - at > _LONGEST_LINE:
                raise error_in(buffer[at:])
            self._buffer = buffer[at:] + self._receive(_CHUNK)
            self._at = 0

    def value(self, size: int) -> bytes:
        """
        Return the next *size* bytes, which a line's end has to follow.
        """
        if self._at + size + 2 > len(self._buffer):
            self._fill_to(size + 2)
        buffer, at = self._buffer, self._at
        end = at + size
        if size < 0 or buffer[end : end + 2] != b"\r\n":
            raise error_in(buffer[at : at + _SHOWN])
        self._at = end + 2
        return buffer[at:end]

    @property
    def is_drained(self) -> bool:
        """
        Whether all that came was read.
        """
        return self._at == len(self._buffer)

    def _fill_to(self, size: int) -> None:
        parts = [self._buffer[self._at :]]
        missing = size - len(parts[0])
        while missing > 0:
            # Not all at once: a size that makes no sense would be all of the memory.
            parts.append(self._receive(min(max(missing, _CHUNK), _LARGE_CHUNK)))
            missing -= len(parts[-1])
        self._buffer, self._at = b"".join(parts), 0

    def _receive(self, size: int) -> bytes:
        left = self._end - time.monotonic()
        if abs(left - self._timeout) > _SLACK * self._timeout:
            self._limit_time(left)
        # Closed by another thread, or by the server.
        data = b"" if self._socket is None else self._socket.recv(size)
        if not data:
            raise MemcacheUnexpectedCloseError
        return data

    def _limit_time(self, left: float) -> None:
        # Only where it differs: each time it is set the system is asked to do so.
        if left <= 0:
            raise TimeoutError("no answer in time")
        if self._socket is not None:
            self._socket.settimeout(left)
        self._timeout = left

    def close(self) -> None:
        """
        Close it; idempotent.
        """
        held, self._socket = self._socket, None
        if held is not None:
            with suppress(OSError):
                held.close()


def _left(limit: float) -> float:
    # Never none, which would be not to wait at all.
    return max(limit - time.monotonic(), 0.001)


def _connected(made: socket.socket, address: Any, limit: float) -> socket.socket:
    try:
        made.settimeout(_left(limit))
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made
