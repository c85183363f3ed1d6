"""
URLs and options of Memcached: the servers, and how to connect to them. No I/O.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from pymemcache.client.base import normalize_server_spec

from coatcheck.errors import ConfigurationError
from coatcheck.plugin import URL, boolean, read_options, seconds

#: A server: host and port, or the path of a unix socket.
Address = tuple[str, int] | str

_CERT_REQS: Final = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}


def _cert_reqs(value: Any) -> ssl.VerifyMode:
    name = str(value).lower().removeprefix("cert_")
    if name not in _CERT_REQS:
        raise ValueError("use required, optional or none")
    return _CERT_REQS[name]


def _count(value: Any) -> int:
    number = int(value)
    if number < 1:
        raise ValueError("use a number from 1 on")
    return number


def _context(value: Any) -> ssl.SSLContext:
    if not isinstance(value, ssl.SSLContext):
        raise TypeError("use an ssl.SSLContext")
    return value


#: The options of every connection, each with its reader.
_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "socket_timeout": seconds,
    "socket_connect_timeout": seconds,
    "socket_keepalive": boolean,
    "max_connections": _count,
    "max_item_size": _count,
    "tls": boolean,
    "tls_context": _context,
    "ssl_cert_reqs": _cert_reqs,
    "ssl_ca_certs": str,
    "ssl_ca_path": str,
    "ssl_ca_data": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_password": str,
    "ssl_check_hostname": boolean,
}

#: Celery's names for this store. They were names of clients; Celery uses pymemcache for all of them.
_CLIENTS: Final = ("memcached", "memcache", "pylibmc", "pymemcache")
_PORT: Final = 11211
_LAST_PORT: Final = 65535


class Settings:
    """
    The servers, and how to connect to them. `addresses` are in the order of the URL, without repetition.
    """

    def __init__(self, url: URL, options: Mapping[str, Any], *, operation_timeout: float) -> None:
        self.operation_timeout = operation_timeout
        read = read_options({**url.query, **options}, _OPTIONS, where=f"{url.scheme}://")
        # A part of the operation's time, so that a second try fits in.
        self.connect_timeout: float = read.get("socket_connect_timeout", operation_timeout / 2)
        self.read_timeout: float = read.get("socket_timeout", operation_timeout / 2)
        self.keepalive: bool = read.get("socket_keepalive", True)
        self.max_connections: int = read.get("max_connections", 50)
        #: The largest item that a server takes, in bytes; `None`: each server is asked.
        self.max_item_size: int | None = read.get("max_item_size")
        self.addresses = _addresses(url)
        self.tls_context = _tls_context(url, read)
        if self.tls_context is not None and any(isinstance(one, str) for one in self.addresses):
            raise ConfigurationError(f"{url}: there is no TLS on a unix socket")


def label_of(address: Address) -> str:
    """Return the server's name in messages."""
    return f"memcached at {server_name(address)}"


def server_name(address: Address) -> str:
    """Return the server's name as pymemcache's `HashClient` uses it to distribute keys."""
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"


def _addresses(url: URL) -> list[Address]:
    base, _, transport = url.scheme.partition("+")
    if base == "cache" and transport not in _CLIENTS:
        raise ConfigurationError(f"{url}: write one of {', '.join(_CLIENTS)}, memory after cache+")
    if base == "memcached" and transport not in ("", "socket"):
        raise ConfigurationError(
            f"{url}: there is no {url.scheme}://; only socket may follow the +"
        )
    if "@" in url.rest:
        raise ConfigurationError(
            f"{url}: neither coatcheck nor pymemcache supports users and passwords of Memcached (SASL): "
            "leave them out, and guard the server by its network or by TLS"
        )
    # As Celery reads it. There may also be several URLs in one.
    rest = re.sub(rf"[;,]{re.escape(url.scheme)}://", ";", url.rest, flags=re.IGNORECASE)
    parts = [part for part in re.split("[;,]", rest.rstrip("/")) if part]
    if transport == "socket" and not (parts and all(part.startswith("/") for part in parts)):
        raise ConfigurationError(f"{url} names no socket: write {url.scheme}:///path/of/the.sock")
    addresses = [_address(url, part) for part in parts]
    return list(dict.fromkeys(addresses)) or [("localhost", _PORT)]


def _address(url: URL, part: str) -> Address:
    if part.startswith(("/", "unix:/")):  # pymemcache and Celery take both
        return unquote(part.removeprefix("unix:"))
    if "/" in part:
        raise ConfigurationError(
            f"{url}: nothing may follow the host; write several servers as host1;host2"
        )
    try:
        host, port = normalize_server_spec(part)
    except ValueError:
        host, port = "", 0
    if not host or not 0 < port <= _LAST_PORT or (":" in host and not part.startswith("[")):
        raise ConfigurationError(
            f"{url}: a host or port cannot be read; write host:port, or [address]:port for IPv6"
        )
    return host, port


def _tls_context(url: URL, read: Mapping[str, Any]) -> ssl.SSLContext | None:
    given: ssl.SSLContext | None = read.get("tls_context")
    details = {name: value for name, value in read.items() if name.startswith("ssl_")}
    if given is not None:
        if details:
            raise ConfigurationError(
                f"{url}: {', '.join(details)} and tls_context exclude each other"
            )
        return given
    if not read.get("tls", bool(details)):
        return None
    try:
        return _made_context(details)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError(
            f"{url}: the certificates or keys of ssl_... cannot be used: {reason}"
        ) from None


def _made_context(details: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(
        cafile=details.get("ssl_ca_certs"),
        capath=details.get("ssl_ca_path"),
        cadata=details.get("ssl_ca_data"),
    )
    verify: ssl.VerifyMode = details.get("ssl_cert_reqs", ssl.CERT_REQUIRED)
    checking = verify is ssl.CERT_REQUIRED
    context.check_hostname = checking and details.get("ssl_check_hostname", True)
    context.verify_mode = verify
    if "ssl_certfile" in details:
        context.load_cert_chain(
            details["ssl_certfile"], details.get("ssl_keyfile"), details.get("ssl_password")
        )
    return context
