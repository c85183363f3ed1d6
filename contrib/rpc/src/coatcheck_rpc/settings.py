"""
The broker, the queues and the connection that a URL names. No I/O.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from coatcheck.errors import ConfigurationError
from coatcheck.plugin import URL, boolean, host_and_port, read_options, seconds

_PLAIN: Final = frozenset({"rpc", "rpc+amqp", "rpc+pyamqp"})
_TLS: Final = frozenset({"rpc+amqps"})
_LONGEST_NAME: Final = 255  # bytes, by the protocol
#: The longest life that RabbitMQ takes for a queue, in milliseconds.
LONGEST_QUEUE: Final = 2**32 - 1
_CERT_REQS: Final = {
    "required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE
}  # fmt: skip


def _name(value: Any) -> str:
    text = str(value)
    if not 0 < len(text.encode()) <= _LONGEST_NAME:
        raise ValueError("use a name of at most 255 bytes")
    return text


def _own_name(value: Any) -> str:
    text = _name(value)
    if text.startswith("amq."):
        raise ValueError("names that start with amq. are the broker's")
    return text


def _queue_life(value: Any) -> float:
    number = seconds(value)
    if not 1 <= number * 1000 <= LONGEST_QUEUE:
        raise ValueError("use seconds, at most 49 days")
    return number


def _heartbeat(value: Any) -> int:
    number = int(value)
    if not 1 <= number <= 3600:
        raise ValueError("use whole seconds, from 1 to 3600")
    return number


def _cert_reqs(value: Any) -> ssl.VerifyMode:
    name = str(value).lower().removeprefix("cert_")
    if name not in _CERT_REQS:
        raise ValueError("use required, optional or none")
    return _CERT_REQS[name]


_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "queue": _own_name,
    "reply_to": _name,
    "queue_expires": _queue_life,
    "persistent": boolean,
    "heartbeat": _heartbeat,
}
_TLS_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "ssl_cert_reqs": _cert_reqs,
    "ssl_ca_certs": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_check_hostname": boolean,
}


class Settings:
    """The place of the broker, the queue to read or to send to, and the options."""

    def __init__(self, url: URL, options: Mapping[str, Any], *, operation_timeout: float) -> None:
        if url.scheme not in _PLAIN | _TLS:
            raise ConfigurationError(
                f"{url}: there is no {url.scheme}://; write rpc:// or, over TLS, rpc+amqps://"
            )
        self.tls = url.scheme in _TLS
        known = {**_OPTIONS, **(_TLS_OPTIONS if self.tls else {})}
        read = read_options({**url.query, **options}, known, where=f"{url.scheme}://")
        self.operation_timeout = operation_timeout
        #: The queue that this process reads; `None` stands for a name of its own.
        self.queue: str | None = read.get("queue")
        #: The queue of the reader, for a client that only sends.
        self.reply_to: str | None = read.get("reply_to")
        if self.queue is not None and self.reply_to is not None:
            raise ConfigurationError(
                f"{url}: a reader takes queue=, a sender takes reply_to=; give one of them"
            )
        self.queue_expires: float = read.get("queue_expires", 86_400.0)
        self.persistent: bool = read.get("persistent", False)
        self.heartbeat: int = read.get("heartbeat", 10)
        self.ssl_options = {name: read[name] for name in _TLS_OPTIONS if name in read}
        self._read_place(url)

    def _read_place(self, url: URL) -> None:
        info, _, rest = url.rest.rpartition("@")
        hosts, _, path = rest.partition("/")
        user, _, password = info.partition(":")
        self.user = unquote(user) or "guest"
        self.password = unquote(password) if info else "guest"
        # As in Celery: "//" and "/" mean the broker's default.
        self.virtual_host = unquote(path) or "/"
        port = 5671 if self.tls else 5672
        items = re.split("[;,]", hosts)
        self.nodes = [host_and_port(url, item, port=port, path="vhost") for item in items]

    @property
    def label(self) -> str:
        """The place of the broker, for messages."""
        return ", ".join(f"{host}:{port}" for host, port in self.nodes)

    @property
    def address(self) -> tuple[object, ...]:
        """Settings that need a connection of their own."""
        tls = tuple(sorted((name, str(value)) for name, value in self.ssl_options.items()))
        place = (tuple(self.nodes), self.virtual_host, self.user, self.password)
        return (*place, self.heartbeat, self.tls, tls)

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return a TLS context with the certificates of the options; `None` without TLS."""
        if not self.tls:
            return None
        given = self.ssl_options
        context = ssl.create_default_context(cafile=given.get("ssl_ca_certs"))
        required = given.get("ssl_cert_reqs", ssl.CERT_REQUIRED)
        check = given.get("ssl_check_hostname", required is ssl.CERT_REQUIRED)
        context.check_hostname = bool(check)
        context.verify_mode = required
        if "ssl_certfile" in given:
            context.load_cert_chain(given["ssl_certfile"], given.get("ssl_keyfile"))
        return context
