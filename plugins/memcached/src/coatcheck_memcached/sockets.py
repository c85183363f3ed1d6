"""
The sockets that pymemcache uses: all calls together keep to one deadline.

The driver's own timeouts are for one read each, so that a server that sends a byte now and then
could hold up an operation for ever.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from typing import Any, Final

from .settings import Settings

#: By how much a socket's timeout may differ from what is left, so as not to be set all the time.
_SLACK: Final = 0.05


class Sockets:
    """
    The module `socket`, as far as the driver uses it, for one connection.
    """

    def __init__(self, host: str, settings: Settings) -> None:
        self.host = host
        self.tls_context: ssl.SSLContext | None = settings.tls_context
        #: Until when all calls have to end, on the monotonic clock.
        self.end = 0.0
        #: What `getaddrinfo` returns, as that of the module does.
        self.found: list[Any] = []
        self._keepalive = settings.keepalive

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    def getaddrinfo(self, *_: object) -> list[Any]:
        """
        Return what is found already.
        """
        return self.found

    def socket(self, *kind: int) -> Socket:
        """
        Open a socket.
        """
        made = socket.socket(*kind)
        if self._keepalive:  # by the system's times: those of the driver are Linux's alone
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return Socket(made, self)


class Socket:
    """
    A socket, as far as the driver uses it, that keeps to the deadline. `connect` includes TLS.
    """

    def __init__(self, made: socket.socket, sockets: Sockets) -> None:
        self._made = made
        self._sockets = sockets
        self._limit = math.inf
        self._timeout = 0.0
        self.setsockopt = made.setsockopt

    def settimeout(self, seconds: float | None) -> None:
        """
        Limit each call to *seconds* as well.
        """
        self._limit = math.inf if seconds is None else seconds

    def connect(self, address: Any) -> None:
        """
        Connect, and verify the server where that is to be.
        """
        self._limited().connect(address)
        context = self._sockets.tls_context
        if context is not None:
            self._made = context.wrap_socket(self._limited(), server_hostname=self._sockets.host)

    def sendall(self, data: bytes) -> None:
        """
        Send all of *data*.
        """
        self._limited().sendall(data)

    def recv(self, size: int) -> bytes:
        """
        Return what comes next, *size* bytes at most; nothing once the server hung up.
        """
        return self._limited().recv(size)

    def close(self) -> None:
        """
        Close it; idempotent.
        """
        self._made.close()

    def _limited(self) -> socket.socket:
        left = min(self._sockets.end - time.monotonic(), self._limit)
        if left <= 0:
            raise TimeoutError("no answer in time")
        # Only where it differs: each time it is set the system is asked to do so.
        if abs(left - self._timeout) > _SLACK * self._timeout:
            self._made.settimeout(left)
            self._timeout = left
        return self._made
