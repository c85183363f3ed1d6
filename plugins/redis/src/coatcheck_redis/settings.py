"""
What a URL says of servers and connections. No I/O.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

import redis
from redis.connection import AbstractConnection

from coatcheck.errors import ConfigurationError
from coatcheck.plugin import URL, boolean, host_and_port, read_options, seconds

from .credentials import provider

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
    "virtual_host": _database,  # kombu's word for it
    "username": str,
    "password": str,
    "credential_provider": provider,
    "client_name": str,
    "socket_timeout": seconds,
    "socket_connect_timeout": seconds,
    "socket_keepalive": boolean,
    "socket_read_size": int,
    "health_check_interval": int,
    "max_connections": int,
    # Without effect here, and found in URLs for redis-py: replies are always read as bytes, every
    # operation is repeated within its own timeout, and all versions of the protocol say the same.
    "decode_responses": _ignored,
    "retry_on_timeout": _ignored,
    "protocol": _ignored,
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

_SENTINEL_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "master_name": str,
    "sentinel_username": str,
    "sentinel_password": str,
    "sentinel_kwargs": dict,
    "min_other_sentinels": int,
}

_BASES: Final = frozenset({"redis", "rediss", "valkey", "valkeys", "sentinel"})
_TLS_BASES: Final = frozenset({"rediss", "valkeys"})
_TRANSPORTS: Final = frozenset({*_BASES, "socket", "cluster"})
#: What is the user's, the database's or the name's, and not a sentinel's.
_OF_SERVERS: Final = frozenset({"username", "password", "credential_provider", "db", "client_name"})

_KNOWN_TO_DRIVER: Final = frozenset(inspect.signature(AbstractConnection).parameters)
#: Keeps the driver from telling the server its own name, a round trip; redis-py 8 has a new option.
_UNSAID: Final = dict.fromkeys(
    ["driver_info"] if "driver_info" in _KNOWN_TO_DRIVER else ["lib_name", "lib_version"]
)

#: Where a server is: host and port.
Node = tuple[str, int]


class Settings:
    """
    How to connect: keyword arguments for redis-py's connections, sync and asyncio alike.

    `nodes` are the one server, the sentinels, or those of a cluster to begin with.
    """

    def __init__(self, url: URL, options: Mapping[str, Any], *, operation_timeout: float) -> None:
        base, _, transport = url.scheme.partition("+")
        if base not in _BASES or (transport or base) not in _TRANSPORTS:
            raise ConfigurationError(
                f"{url}: there is no {url.scheme}://; behind the + stand socket, cluster or "
                "sentinel"
            )
        self.tls = bool({base, transport} & _TLS_BASES)
        self.socket = transport == "socket"
        self.cluster = transport == "cluster"
        self.sentinel = "sentinel" in {base, transport}
        self.operation_timeout = operation_timeout
        known = {
            **_OPTIONS,
            **(_TLS_OPTIONS if self.tls else {}),
            **(_SENTINEL_OPTIONS if self.sentinel else {}),
        }
        read = read_options({**url.query, **options}, known, where=f"{url.scheme}://")
        given = {name: value for name, value in read.items() if value is not None}
        self.max_connections: int = given.pop("max_connections", 50)
        database = given.pop("virtual_host", None)
        if database is not None:
            given.setdefault("db", database)
        sentinels = {name: given.pop(name) for name in _SENTINEL_OPTIONS if name in given}
        self.nodes: list[Node] = []
        place = self._socket_place(url) if self.socket else self._place(url)
        # A part of the operation's time, so that a second try fits in: half, or less where
        # another server is asked first who the right one is, and that one may be gone.
        several = self.sentinel or self.cluster
        part = operation_timeout * (0.25 if several else 0.5)
        self.connection = {
            "socket_connect_timeout": part,
            # Less than any first try has, see BoundedParser.
            "socket_timeout": operation_timeout * (0.4 if several else 0.44),
            "socket_keepalive": True,
            # One round trip less at connecting, and what a subscriber reads is plain lists.
            "protocol": 2,
            **_UNSAID,
            **place,
            **given,
        }
        if "credential_provider" in given:  # which goes before the URL's user and password
            for name in ("username", "password"):
                self.connection.pop(name, None)
        if self.socket:
            self.connection.pop("socket_keepalive")
        if self.sentinel:
            self._read_sentinels(url, sentinels, part)

    def _read_sentinels(self, url: URL, given: dict[str, Any], part: float) -> None:
        self.master_name: str = given.pop("master_name", "")
        if not self.master_name:
            raise ConfigurationError(
                f"{url}: say by master_name= which master of the sentinels to use"
            )
        self.min_other_sentinels: int = given.pop("min_other_sentinels", 0)
        like_servers = {k: v for k, v in self.connection.items() if k not in _OF_SERVERS}
        each = part / len(self.nodes)
        self.sentinel_connection = {
            **like_servers,
            "socket_connect_timeout": each,
            "socket_timeout": each,
            **_sentinel_kwargs(given.pop("sentinel_kwargs", {}), tls=self.tls),
            **{name.removeprefix("sentinel_"): value for name, value in given.items()},
        }

    def _place(self, url: URL) -> dict[str, Any]:
        """
        Take in the hosts, and return what else of the URL is the connection's. The user info and
        the database are those of the first URL, if there are several in one.
        """
        first, *others = re.split(r";[a-z+]+://", url.rest, flags=re.IGNORECASE)
        info, _, hosts = first.rpartition("@")
        several = self.sentinel or self.cluster
        if several and any("://" in value for value in url.query.values()):
            raise ConfigurationError(f"{url}: options stand behind the last host")
        items = re.split("[;,]", hosts)
        for other in others:
            items += re.split("[;,]", other.rpartition("@")[2])
        if len(items) > 1 and not several:
            raise ConfigurationError(f"{url}: several hosts need sentinel:// or redis+cluster://")
        port = 26379 if self.sentinel else 6379
        self.nodes = [host_and_port(url, item, port=port, path="db") for item in items]
        place: dict[str, Any] = _user_info(info)
        if not several:
            place["host"], place["port"] = self.nodes[0]
        database = unquote(items[0].partition("/")[2]).strip("/")
        if database:
            try:
                place["db"] = _database(database)
            except ValueError:
                # It is not shown: where it is no number, it may be a part of a password.
                raise ConfigurationError(
                    f"{url}: what follows the host is not the number of a database"
                ) from None
        return place

    def _socket_place(self, url: URL) -> dict[str, Any]:
        info, _, path = url.rest.rpartition("@")
        if not path.strip("/"):
            raise ConfigurationError(f"{url} names no socket: write {url.scheme}:///path")
        return {**_user_info(info), "path": unquote(path)}

    def check_driver(self, kind: type[Any]) -> None:
        """
        Raise `ConfigurationError` for an option that the connections of the installed driver, of the
        class *kind*, do not have.
        """
        known = {name for cls in kind.__mro__ for name in inspect.signature(cls).parameters}
        lacking = sorted(self.connection.keys() - known)
        if lacking:
            raise ConfigurationError(
                f"the option {lacking[0]!r} needs a later redis-py: {redis.__version__} has no such "
                "option for this kind of connection"
            )

    @property
    def label(self) -> str:
        """
        Where the server is, for messages.
        """
        if self.socket:
            return str(self.connection["path"])
        places = ", ".join(f"{host}:{port}" for host, port in self.nodes)
        if self.sentinel:
            return f"the master {self.master_name!r} of {places}"
        return f"the cluster of {places}" if self.cluster else places


def _sentinel_kwargs(given: Mapping[str, Any], *, tls: bool) -> dict[str, Any]:
    known = {**_OPTIONS, **(_TLS_OPTIONS if tls else {})}
    read = read_options(given, known, where="sentinel_kwargs")
    read.pop("max_connections", None)
    return {name: value for name, value in read.items() if value is not None}


def _user_info(info: str) -> dict[str, Any]:
    user, _, password = info.partition(":")
    found = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in found.items() if value}
