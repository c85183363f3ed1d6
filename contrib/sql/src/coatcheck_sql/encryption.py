"""
TLS as the drivers speak it, for the doctor: both databases begin in plain text.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

#: libpq's modes that insist on TLS.
_INSISTING: Final = ("require", "verify-ca", "verify-full")
_POSTGRESQL_REQUEST: Final = struct.pack(">ii", 8, 80877103)
#: MySQL's flags: protocol 4.1, TLS, secure passwords.
_MYSQL_REQUEST: Final = struct.pack("<IIB23x", 0x200 | 0x800 | 0x8000, 1 << 24, 45)

Encrypt = Callable[[socket.socket], ssl.SSLSocket]


def encryption_of(url: sa.URL, host: str) -> Encrypt | None:
    """Return a function that speaks TLS with *host*; `None` if *url* does not insist on it."""
    if url.get_backend_name() == "postgresql":
        context = _postgresql_context(url)
        request: Callable[[socket.socket], None] = _request_postgresql
    else:
        context, request = _mysql_context(url), _request_mysql
    if context is None:
        return None

    def encrypt(connected: socket.socket) -> ssl.SSLSocket:
        request(connected)
        return context.wrap_socket(connected, server_hostname=host)

    return encrypt


def _postgresql_context(url: sa.URL) -> ssl.SSLContext | None:
    options = {name: str(value) for name, value in url.query.items()}
    mode, authority = options.get("sslmode"), options.get("sslrootcert")
    if mode not in _INSISTING:
        return None
    context = ssl.create_default_context(cafile=None if authority == "system" else authority)
    context.check_hostname = mode == "verify-full"
    if mode == "require" and authority is None:
        context.verify_mode = ssl.CERT_NONE
    if "sslcert" in options:
        context.load_cert_chain(
            options["sslcert"], options.get("sslkey"), options.get("sslpassword")
        )
    return context


def _mysql_context(url: sa.URL) -> ssl.SSLContext | None:
    if url.get_driver_name() != "pymysql":
        return None
    from pymysql.connections import Connection  # noqa: PLC0415 - not everybody has it

    named = url.get_dialect()().create_connect_args(url)[1]
    if not any(name.startswith("ssl") for name in named):
        return None
    made: Any = Connection(**named, defer_connect=True)
    context: ssl.SSLContext | None = made.ctx if made.ssl else None
    return context


def _request_postgresql(connected: socket.socket) -> None:
    connected.sendall(_POSTGRESQL_REQUEST)
    if connected.recv(1) != b"S":
        raise ConnectionError("the server does not speak TLS")


def _request_mysql(connected: socket.socket) -> None:
    size = int.from_bytes(_received(connected, 4)[:3], "little")
    _received(connected, size)
    header = len(_MYSQL_REQUEST).to_bytes(3, "little") + b"\1"
    connected.sendall(header + _MYSQL_REQUEST)


def _received(connected: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connected.recv(size - len(data))
        if not more:
            raise ConnectionError("the server closed the connection")
        data += more
    return data
