"""
The faults of Redis servers: eviction, memory, persistence, replicas, limits of listeners, permissions.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from redis import exceptions

from coatcheck.plugin import Checkup, Finding, Level, Server, pass_on_interruption

from .cluster import Cluster
from .connections import SSLConnection
from .errors import mapped
from .link import ERRORS, Link, receive, send
from .operations import Request
from .settings import Node, Settings

#: The earliest server that has all commands.
OLDEST: Final = (2, 6, 12)
#: The earliest that wakes waiters on a cluster.
OLDEST_SHARDED: Final = (7, 0)
#: The part of the memory that may be used.
FULL: Final = 0.9
#: A replica may be this many seconds behind.
LAG: Final = 10
#: Of a listener that is this many bytes behind, the connection must stay.
LEAST_BUFFER: Final = 8 * 1024 * 1024
_CHANNEL: Final = "coatcheck-doctor"
#: Each by itself: a pattern would fetch passwords as well.
_CONFIGS: Final = [
    ("CONFIG", "GET", name) for name in ("save", "appendonly", "client-output-buffer-limit")
]


class RedisCheckup(Checkup):
    """The checks of a server, of a master, or of each primary of a cluster."""

    def __init__(self, settings: Settings, link: Link | Cluster) -> None:
        self._settings = settings
        self._link = link

    def servers(self) -> Sequence[Server]:
        settings = self._settings
        if settings.socket:
            return [Server(settings.connection["path"], 0)]
        tls = partial(_encrypted, settings) if settings.tls else None
        return [Server(host, port, tls and partial(tls, host)) for host, port in settings.nodes]

    def version(self) -> str:
        reply = self._ask(("INFO", "SERVER"), node=next(iter(self._link.nodes())))[0]
        info = _read_info(self._checked(reply))
        valkey = info.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"

    def clock(self) -> float:
        seconds, micros = self._checked(self._ask(("TIME",))[0])
        return int(seconds) + int(micros) / 1e6

    def endless(self, task_ids: Sequence[str]) -> int:
        lives = self._ask(*(("PTTL", self.key_prefix + task_id) for task_id in task_ids))
        return sum(self._checked(life) == -1 for life in lives)

    def findings(self) -> Iterator[Finding]:
        for option in sorted(self._settings.ignored):
            what = f"the option {option} has no effect"
            yield Finding("configuration", Level.WARNING, what, "remove it")
        for node in self._link.nodes():
            where = "" if node is None else f"{node[0]}:{node[1]}: "
            for finding in self._settings_of(node):
                yield finding._replace(what=where + finding.what)
        yield from self._permissions()

    def _settings_of(self, node: Node | None) -> Iterator[Finding]:
        info, *configs = self._ask(("INFO",), *_CONFIGS, node=node)
        if isinstance(info, Exception):
            yield Finding("settings", Level.UNCHECKED, f"INFO is refused: {info}")
        else:
            yield from _judged_info(_read_info(info), self._settings)
        refusal = next((reply for reply in configs if isinstance(reply, Exception)), None)
        if refusal is not None:
            yield Finding("settings", Level.UNCHECKED, f"CONFIG is refused: {refusal}")
        else:
            pairs = [[text.decode(errors="replace") for text in reply] for reply in configs]
            yield from _judged_config({pair[0]: pair[1] for pair in pairs if pair})

    def _permissions(self) -> Iterator[Finding]:
        """Run a script, publish and subscribe, on a key and a channel of this module."""
        key = self.key_prefix + _CHANNEL
        sharded = "s" if self._settings.cluster else ""
        publish = (f"{sharded}publish".upper(), key, "")
        script, published = self._ask(("EVAL", "return 1", "1", key), publish)
        subscribe = f"{sharded}subscribe"
        for action, reply, rights in (
            ("run scripts", script, "+eval +evalsha"),
            ("publish", published, f"+{sharded}publish &{self.key_prefix}*"),
            ("subscribe", self._subscribe(subscribe, key), f"+{subscribe} &{self.key_prefix}*"),
        ):
            if isinstance(reply, exceptions.NoPermissionError):
                level = Level.BROKEN if reply is script else Level.WARNING
                remedy = f"ACL SETUSER with the user's name and {rights}"
                yield Finding("permission", level, f"the user may not {action}", remedy)

    def _subscribe(self, command: str, channel: str) -> Any:
        """Return the reply to a subscription on a connection of its own."""
        connection = None
        try:
            (node,) = self._link.locate([channel])
            connection = self._link.make_subscriber(node)
            commands = [(command.upper(), channel)]
            send(connection, commands)
            return receive(connection, commands, self._settings.operation_timeout)[0]
        except ERRORS as error:
            pass_on_interruption(error)
            return error
        finally:
            if connection is not None:
                connection.disconnect()

    def _ask(self, *commands: tuple[str, ...], node: Node | None = None) -> list[Any]:
        return self._link.ask(Request(commands, writing=False, node=node))

    def _checked(self, reply: Any) -> Any:
        if isinstance(reply, Exception):
            raise mapped(reply, self._settings.label, writing=False) from reply
        return reply


def _encrypted(settings: Settings, host: str, connected: socket.socket) -> ssl.SSLSocket:
    """Speak TLS as the driver does."""
    made: Any = SSLConnection(**{**settings.connection, "host": host})
    encrypted: ssl.SSLSocket = made._wrap_socket_with_ssl(connected)  # noqa: SLF001
    return encrypted


def _read_info(reply: bytes) -> dict[str, str]:
    lines = reply.decode(errors="replace").splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}


def _judged_info(info: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    needed = OLDEST_SHARDED if settings.cluster else OLDEST
    version = info.get("redis_version", "")
    if tuple(int(part) for part in version.split(".") if part.isdigit()) < needed:
        what = f"the server has version {version}"
        remedy = f"upgrade to {'.'.join(map(str, needed))} or later"
        yield Finding("version", Level.WARNING, what, remedy)
    yield from _judged_memory(info)
    for name in ("rdb_last_bgsave_status", "aof_last_write_status"):
        if info.get(name, "ok") != "ok":
            remedy = "find the reason in the server's log; most often the disk is full"
            yield Finding("persistence", Level.WARNING, f"{name} is {info[name]}", remedy)
    yield from _judged_replicas(info, settings)


def _judged_memory(info: Mapping[str, str]) -> Iterator[Finding]:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    policy, evicted = info.get("maxmemory_policy", "noeviction"), int(info.get("evicted_keys", 0))
    if limit and policy != "noeviction":
        what = f"maxmemory-policy is {policy}: records may vanish before they expire"
        remedy = "CONFIG SET maxmemory-policy noeviction, and watch the memory"
        yield Finding("eviction", Level.WARNING, what, remedy)
    if evicted:
        what = f"{evicted} keys were evicted since the server started or its statistics were reset"
        yield Finding("eviction", Level.WARNING, what, "raise maxmemory, or keep records shorter")
    limit = limit or int(info.get("total_system_memory", 0))
    if limit and used > FULL * limit:
        what = f"{used:,} of {limit:,} bytes of memory are used"
        yield Finding("memory", Level.WARNING, what, "raise maxmemory, or keep records shorter")


def _judged_replicas(info: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    if info.get("role") == "slave":
        what = "the server is a replica: it refuses to store"
        yield Finding("replicas", Level.BROKEN, what, "name the master in the URL, or sentinels")
    replicas = [info[f"slave{n}"] for n in range(int(info.get("connected_slaves", 0)))]
    for replica in replicas:
        fields = dict(part.split("=", 1) for part in replica.split(","))
        if fields.get("state") != "online" or int(fields.get("lag", 0)) > LAG:
            what = f"the replica {fields.get('ip')}:{fields.get('port')} lags: {replica}"
            yield Finding("replicas", Level.WARNING, what, "look at the replica and its network")
    if settings.sentinel and not replicas:
        what = "the master has no replica: nothing can take over"
        yield Finding("replicas", Level.WARNING, what, "start a replica")


def _judged_config(config: Mapping[str, str]) -> Iterator[Finding]:
    if config.get("save") == "" and config.get("appendonly") == "no":
        what = "nothing is written to disk: a restart loses all records"
        yield Finding("persistence", Level.WARNING, what, "CONFIG SET appendonly yes")
    words = config.get("client-output-buffer-limit", "").split()
    limits = dict(zip(words[::4], zip(words[1::4], words[2::4], strict=True), strict=True))
    for limit in filter(None, map(int, limits.get("pubsub", ()))):
        if limit < LEAST_BUFFER:
            what = f"a listener that is {limit:,} bytes behind is disconnected, for records are published"
            remedy = 'CONFIG SET client-output-buffer-limit "pubsub 32mb 8mb 60"'
            yield Finding("listeners", Level.WARNING, what, remedy)
            return
