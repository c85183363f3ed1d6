"""
The sockets that pymemcache uses: all calls together keep to one deadline.

The driver's own timeouts are for one read each. A server that sends a byte now and then could hold up an
operation for ever.
"""

from __future__ import annotations

import math
import socket
import ssl
from typing import Any, Final

from coatcheck.plugin import monotonic, pass_on_interruption

from .settings import Settings

#: A socket's timeout may differ from the time left by this part, so that it is rarely set.
_SLACK: Final = 0.05


class Sockets:
    """The parts of the module `socket` that the driver uses, for one connection."""

    def __init__(self, host: str, settings: Settings) -> None:
        self.host = host
        self.tls_context: ssl.SSLContext | None = settings.tls_context
        #: The deadline of all calls, on the monotonic clock.
        self.end = 0.0
        #: The addresses that `getaddrinfo` returns.
        self.found: list[Any] = []
        self._keepalive = settings.keepalive

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    def getaddrinfo(self, *_: object) -> list[Any]:
        """Return the addresses that were found before."""
        return self.found

    def socket(self, *kind: int) -> Socket:
        """Open a socket."""
        made = socket.socket(*kind)
        if self._keepalive:  # with the system's times: the driver can set them on Linux only
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return Socket(made, self)


class Socket:
    """The parts of a socket that the driver uses, within the deadline. `connect` includes TLS."""

    def __init__(self, made: socket.socket, sockets: Sockets) -> None:
        self._made = made
        self._sockets = sockets
        self._limit = math.inf
        #: The current timeout serves while the time left is between these.
        self._least = self._most = 0.0
        self.setsockopt = made.setsockopt

    def settimeout(self, seconds: float | None) -> None:
        """Set a limit for `connect`."""
        self._limit = math.inf if seconds is None else seconds

    def connect(self, address: Any) -> None:
        """Connect, with TLS if there is a context."""
        self._connecting().connect(address)
        context = self._sockets.tls_context
        if context is not None:
            made = self._connecting()
            self._made = context.wrap_socket(made, server_hostname=self._sockets.host)

    def sendall(self, data: bytes) -> None:
        """Send all of *data*."""
        if not self._least < (left := self._sockets.end - monotonic()) < self._most:
            self._bound(left)
        self._made.sendall(data)

    def recv(self, size: int) -> bytes:
        """Return the next bytes, at most *size*; none once the server has closed the connection."""
        if not self._least < (left := self._sockets.end - monotonic()) < self._most:
            self._bound(left)
        return self._made.recv(size)

    def close(self) -> None:
        """Close it; idempotent."""
        try:
            self._made.close()
        except OSError as error:  # the server may have closed it first
            pass_on_interruption(error)

    def _connecting(self) -> socket.socket:
        self._bound(min(self._sockets.end - monotonic(), self._limit))
        return self._made

    def _bound(self, left: float) -> None:
        if left <= 0:
            raise TimeoutError("no answer in time")
        # Only if it differs: setting a timeout is a system call.
        self._made.settimeout(left)
        self._least, self._most = left * (1 - _SLACK), left * (1 + _SLACK)
