"""
URLs and options of Redis: the servers, and how to connect to them. No I/O.
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


#: The options of every connection, each with its reader. Names and meanings are redis-py's.
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
    # Without effect. They occur in URLs for redis-py. Replies are always bytes, every operation is
    # repeated within its timeout, and all versions of the protocol serve.
    "decode_responses": _ignored,
    "retry_on_timeout": _ignored,
    "protocol": _ignored,
}
IGNORED: Final = frozenset(name for name, read in _OPTIONS.items() if read is _ignored)
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
#: Options that sentinels do not inherit from the servers.
_OF_SERVERS: Final = frozenset({"username", "password", "credential_provider", "db", "client_name"})

_KNOWN_TO_DRIVER: Final = frozenset(inspect.signature(AbstractConnection).parameters)
#: Keeps the driver from telling the server its own name, which costs a round trip. redis-py 8 has a new
#: option for it.
_UNSAID: Final = dict.fromkeys(
    ["driver_info"] if "driver_info" in _KNOWN_TO_DRIVER else ["lib_name", "lib_version"]
)

#: A server: host and port.
Node = tuple[str, int]


class Settings:
    """
    `connection` are the keyword arguments of redis-py's connections of both sides. `nodes` are the server,
    the sentinels, or the nodes of a cluster to ask first.
    """

    def __init__(self, url: URL, options: Mapping[str, Any], *, operation_timeout: float) -> None:
        base, _, transport = url.scheme.partition("+")
        if base not in _BASES or (transport or base) not in _TRANSPORTS:
            raise ConfigurationError(
                f"{url}: there is no {url.scheme}://; only socket, cluster and sentinel may "
                "follow the +"
            )
        self.tls = bool({base, transport} & _TLS_BASES)
        self.socket = transport == "socket"
        self.cluster = transport == "cluster"
        self.sentinel = "sentinel" in {base, transport}
        self.operation_timeout = operation_timeout
        #: The options that were given and have no effect.
        self.ignored = IGNORED & {*url.query, *options}
        given = _read(
            {**url.query, **options},
            {**self._known(), **(_SENTINEL_OPTIONS if self.sentinel else {})},
            where=f"{url.scheme}://",
        )
        self.max_connections: int = given.pop("max_connections", 50)
        if "virtual_host" in given:
            given = {"db": given.pop("virtual_host"), **given}
        sentinels = {name: given.pop(name) for name in _SENTINEL_OPTIONS if name in given}
        self.nodes: list[Node] = []
        located = self._read_socket(url) if self.socket else self._read_hosts(url)
        self._connect_by(located, given)
        if self.sentinel:
            self._read_sentinels(url, sentinels)

    def _known(self) -> dict[str, Callable[[Any], Any]]:
        return {**_OPTIONS, **(_TLS_OPTIONS if self.tls else {})}

    def _connect_by(self, located: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        # A part of the operation's time, so that a second try fits in. Less if another server, which may
        # be gone, names the right one first.
        several = self.sentinel or self.cluster
        self.connection = {
            "socket_connect_timeout": self.operation_timeout * (0.25 if several else 0.5),
            # Less than any first try has, see BoundedParser.
            "socket_timeout": self.operation_timeout * (0.4 if several else 0.44),
            "socket_keepalive": True,
            # One round trip less at connecting, and messages to a subscriber are plain lists.
            "protocol": 2,
            **_UNSAID,
            **located,
            **given,
        }
        if "credential_provider" in given:  # it overrides the URL's user and password
            for name in ("username", "password"):
                self.connection.pop(name, None)
        if self.socket:
            self.connection.pop("socket_keepalive")

    def _read_sentinels(self, url: URL, given: dict[str, Any]) -> None:
        self.master_name: str = given.pop("master_name", "")
        if not self.master_name:
            raise ConfigurationError(f"{url}: name the master of the sentinels by master_name=")
        self.min_other_sentinels: int = given.pop("min_other_sentinels", 0)
        inherited = {k: v for k, v in self.connection.items() if k not in _OF_SERVERS}
        own = _read(given.pop("sentinel_kwargs", {}), self._known(), where="sentinel_kwargs")
        own.pop("max_connections", None)
        each = self.operation_timeout * 0.25 / len(self.nodes)
        self.sentinel_connection = {
            **inherited,
            "socket_connect_timeout": each,
            "socket_timeout": each,
            **own,
            **{name.removeprefix("sentinel_"): value for name, value in given.items()},
        }

    def _read_hosts(self, url: URL) -> dict[str, Any]:
        """
        Set `nodes`, and return the user, the database and the host as keyword arguments. If there are
        several URLs in one, the user and the database are those of the first.
        """
        first, *others = re.split(r";[a-z+]+://", url.rest, flags=re.IGNORECASE)
        info, _, hosts = first.rpartition("@")
        several = self.sentinel or self.cluster
        if several and any("://" in value for value in url.query.values()):
            raise ConfigurationError(f"{url}: write the options after the last host")
        items = re.split("[;,]", hosts)
        for other in others:
            items += re.split("[;,]", other.rpartition("@")[2])
        if len(items) > 1 and not several:
            raise ConfigurationError(f"{url}: several hosts need sentinel:// or redis+cluster://")
        port = 26379 if self.sentinel else 6379
        self.nodes = [host_and_port(url, item, port=port, path="db") for item in items]
        located: dict[str, Any] = _user_info(info)
        if not several:
            located["host"], located["port"] = self.nodes[0]
        database = unquote(items[0].partition("/")[2]).strip("/")
        if database:
            try:
                located["db"] = _database(database)
            except ValueError:
                # Not shown: it may be a part of a password.
                raise ConfigurationError(
                    f"{url}: the text after the host is not the number of a database"
                ) from None
        return located

    def _read_socket(self, url: URL) -> dict[str, Any]:
        info, _, path = url.rest.rpartition("@")
        if not path.strip("/"):
            raise ConfigurationError(f"{url} names no socket: write {url.scheme}:///path")
        return {**_user_info(info), "path": unquote(path)}

    def check_driver(self, kind: type[Any]) -> None:
        """
        Raise `ConfigurationError` for an option that the installed driver does not have for its connections
        of the class *kind*.
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
        """The server's name in messages."""
        if self.socket:
            return str(self.connection["path"])
        nodes = ", ".join(f"{host}:{port}" for host, port in self.nodes)
        if self.sentinel:
            return f"the master {self.master_name!r} of {nodes}"
        return f"the cluster of {nodes}" if self.cluster else nodes


def _read(
    given: Mapping[str, Any], known: Mapping[str, Callable[[Any], Any]], *, where: str
) -> dict[str, Any]:
    read = read_options(given, known, where=where)
    return {name: value for name, value in read.items() if value is not None}


def _user_info(info: str) -> dict[str, Any]:
    user, _, password = info.partition(":")
    found = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in found.items() if value}
