"""
Connections of PyMySQL that keep to a deadline: its own timeouts are for each piece that arrives.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pymysql import err
from pymysql.connections import Connection

from coatcheck.plugin import lookups

from .deadline import left

#: The client's error codes.
_UNREACHABLE: Final = 2003
_GONE: Final = 2006
_LOST: Final = 2013
#: How many bytes to ask for at once, at least and at most. Several small packets arrive together.
_AHEAD: Final = 8192
_MOST: Final = 262_144
#: The TLS context of connections without TLS options, once there is one.
_PLAIN: Final[list[Any]] = []


class BoundedConnection(Connection):
    """For SQLAlchemy's pool. Without a deadline its `read_timeout` is one for each piece."""

    #: Bytes that were received and not read yet.
    _ahead = b""
    #: The TLS context, or a function that makes it.
    ctx: Any = None

    def connect(self, sock: socket.socket | None = None) -> None:
        """See PyMySQL."""
        if sock is None and not self.unix_socket:
            try:
                sock = self._reach()
            except OSError as error:
                message = f"Can't connect to MySQL server on {self.host!r} ({error})"
                raise err.OperationalError(_UNREACHABLE, message) from error
            self.host_info = f"socket {self.host}:{self.port}"
        if callable(self.ctx):
            self.ctx = self.ctx()
        self._ahead = b""
        super().connect(sock)

    def _create_ssl_ctx(self, sslp: Any) -> Any:
        # Only once a server answers: it takes tens of milliseconds of processor time, and while the server is
        # away, connecting is tried again and again. All connections without options share one; options may
        # name files, which change.
        create = partial(super()._create_ssl_ctx, sslp)
        return create if sslp else partial(_plain, create)

    def _reach(self) -> socket.socket:
        """
        Return a socket connected to the first address that answers. Each has its share of the time.
        """
        addresses = lookups.addresses(self.host, self.port, self._seconds())
        source = (self.bind_address, 0) if self.bind_address is not None else None
        for number, (*_, address) in enumerate(addresses, 1):
            share = self._seconds() / (len(addresses) - number + 1)
            try:
                made = socket.create_connection(address[:2], share, source)
            except OSError:
                if number == len(addresses):
                    raise
            else:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                return made
        raise OSError(f"{self.host!r} has no address")

    def _seconds(self) -> float:
        """Return the seconds for the next piece. Raises `TimeoutError` if no time is left."""
        seconds = min(left(), self._read_timeout or float("inf"))
        if seconds <= 0:
            raise TimeoutError("the server did not answer in time")
        return float(seconds)

    def _read_bytes(self, num_bytes: int) -> bytes:
        data = self._ahead
        if len(data) < num_bytes:
            parts, missing = [data], num_bytes - len(data)
            while missing > 0:
                part = self._receive(min(max(missing, _AHEAD), _MOST))
                parts.append(part)
                missing -= len(part)
            data = b"".join(parts)
        self._ahead = data[num_bytes:]
        return data[:num_bytes]

    def _receive(self, size: int) -> bytes:
        try:
            self._sock.settimeout(self._seconds())
            part: bytes = self._sock.recv(size)
        except OSError as error:
            self._force_close()
            message = f"Lost connection to MySQL server during query ({error})"
            raise err.OperationalError(_LOST, message) from error
        except BaseException:
            self._force_close()  # a part of a packet is lost
            raise
        if not part:
            self._force_close()
            raise err.OperationalError(_LOST, "Lost connection to MySQL server during query")
        return part

    def _write_bytes(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                self._sock.settimeout(self._seconds())
                view = view[self._sock.send(view) :]
        except OSError as error:
            self._force_close()
            message = f"MySQL server has gone away ({error!r})"
            raise err.OperationalError(_GONE, message) from error


def _plain(create: Callable[[], Any]) -> Any:
    if not _PLAIN:
        _PLAIN.append(create())
    return _PLAIN[0]
