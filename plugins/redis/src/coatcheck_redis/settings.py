"""
What a URL says of a connection. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from coatcheck.errors import ConfigurationError
from coatcheck.url import URL, boolean, read_options, seconds

_CERT_REQS: Final = {"required": "required", "optional": "optional", "none": "none"}


def _cert_reqs(value: Any) -> str:
    name = str(value).lower().removeprefix("cert_")
    if name not in _CERT_REQS:
        raise ValueError("use required, optional or none")
    return name


def _database(value: Any) -> int:
    text = str(value)
    if not text.isascii() or not text.isdigit():
        raise ValueError("use the database's number")
    return int(text)


def _ignored(value: Any) -> None:
    del value


#: Options of every connection, and how each is read. Names and meanings are redis-py's.
_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "db": _database,
    "username": str,
    "password": str,
    "client_name": str,
    "socket_timeout": seconds,
    "socket_connect_timeout": seconds,
    "socket_keepalive": boolean,
    "socket_read_size": int,
    "health_check_interval": int,
    "max_connections": int,
    # Without effect here, and found in Celery's URLs: replies are always read as bytes, and
    # every operation is repeated within its own timeout.
    "decode_responses": _ignored,
    "retry_on_timeout": _ignored,
}
_TLS_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "ssl_cert_reqs": _cert_reqs,
    "ssl_ca_certs": str,
    "ssl_ca_path": str,
    "ssl_ca_data": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_password": str,
    "ssl_check_hostname": boolean,
    "ssl_ciphers": str,
}
_SOCKET_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {"virtual_host": _database}

_TLS_SCHEMES: Final = frozenset({"rediss", "valkeys"})


class Settings:
    """
    How to connect: keyword arguments for redis-py's connections, sync and asyncio alike.
    """

    def __init__(self, url: URL, options: Mapping[str, Any], *, operation_timeout: float) -> None:
        transport = url.scheme.rpartition("+")[2]
        self.tls = transport in _TLS_SCHEMES
        self.socket = transport == "socket"
        self.operation_timeout = operation_timeout
        known = {
            **_OPTIONS,
            **(_TLS_OPTIONS if self.tls else {}),
            **(_SOCKET_OPTIONS if self.socket else {}),
        }
        where = f"{url.scheme}://"
        read = read_options({**url.query, **options}, known, where=where)
        given = {name: value for name, value in read.items() if value is not None}
        self.max_connections: int = given.pop("max_connections", 50)
        database = given.pop("virtual_host", None)
        connection = {**self._place(url), **given}
        if database is not None:
            connection["db"] = database
        self.connection = {
            # Half of the operation's time to connect, so that a second try fits in.
            "socket_connect_timeout": operation_timeout / 2,
            "socket_timeout": operation_timeout / 2,
            "socket_keepalive": True,
            # One round trip less at connecting, and what a subscriber reads is plain lists.
            "protocol": 2,
            "driver_info": None,
            **connection,
        }
        if self.socket:
            self.connection.pop("socket_keepalive")

    def _place(self, url: URL) -> dict[str, Any]:
        """
        Return where the URL points. Errors do not show it: it may hold a password.
        """
        try:
            parts = urlsplit(f"//{url.rest}")
            port = parts.port
        except ValueError:
            parts = None
        if parts is None or parts.fragment:
            raise ConfigurationError(
                f"{url}: host or port cannot be read; write {url.scheme}://user:password@host:"
                "port/db, with special characters in the password as %XX"
            )
        place: dict[str, Any] = {}
        if parts.username:
            place["username"] = unquote(parts.username)
        if parts.password:
            place["password"] = unquote(parts.password)
        if self.socket:
            if not parts.path.strip("/"):
                raise ConfigurationError(f"{url} names no socket: write {url.scheme}:///path")
            return {**place, "path": unquote(parts.path)}
        place["host"] = unquote(parts.hostname or "localhost")
        place["port"] = port or 6379
        database = unquote(parts.path).strip("/")
        if database:
            try:
                place["db"] = _database(database)
            except ValueError:
                raise ConfigurationError(
                    f"{url}: {database!r} is not the number of a database"
                ) from None
        return place

    @property
    def label(self) -> str:
        """
        Where the server is, for messages.
        """
        if self.socket:
            return str(self.connection["path"])
        return f"{self.connection['host']}:{self.connection['port']}"
