"""
Our stores and their faults, for `nox -s chaos`.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from coatcheck.testing.chaos import Subject
from coatcheck.testing.faults import Fault, network_faults, stopped
from coatcheck.testing.proxy import Proxy

from .memcached import MemcachedServer
from .mongo import MongoServer, ReplicaSet
from .redis import RedisCluster, RedisServer, Sentinels, until

#: The placeholder for the address of a server.
NAME = "store.chaos.test"
_lookups = threading.Event()
_lookups.set()


# -- shared faults --------------------------------------------------------------------------


@contextmanager
def names() -> Iterator[Fault]:
    """
    Have `NAME` stand for this machine, and a name server that may stop to answer.
    """
    real = socket.getaddrinfo

    def getaddrinfo(host, *args, **options):
        if host not in (NAME, NAME.encode()) or options.get("flags") == socket.AI_NUMERICHOST:
            return real(host, *args, **options)
        # Nobody but the system may end a lookup; it gives up at long last.
        if not _lookups.wait(20):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real("127.0.0.1", *args, **options)

    socket.getaddrinfo = getaddrinfo
    try:
        yield Fault("silent name server", _lookups.clear, _lookups.set, longest=5.0)
    finally:
        _lookups.set()
        socket.getaddrinfo = real


def disk_full() -> Fault:
    """
    Return a fault that has every write to a file fail, as on a full disk. Needs no privileges.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    return Fault(
        "disk full",
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard)),
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)),
    )


WRITER = """
import sys, itertools, coatcheck
with coatcheck.by_url(sys.argv[1]) as results:
    for n in itertools.count():
        results.store_result(f"killed-{n % 50}", n, protect=())
"""


def killed_writer(url: str) -> Fault:
    """
    Return a fault that kills a process in the middle of its writes.
    """
    started: list[subprocess.Popen[bytes]] = []

    def end() -> None:
        process = started.pop()
        process.kill()
        process.wait()

    command = [sys.executable, "-c", WRITER, url]
    return Fault("killed writer", lambda: started.append(subprocess.Popen(command)), end)


def restarted(server, name: str = "restart", *, loses: bool = False) -> Fault:
    """
    Return a fault that kills *server* and starts it again.
    """
    return Fault(name, server.kill, server.start, loses=loses)


def emptied(server, directory: Path) -> Fault:
    """
    Return a fault that kills *server* and starts it again with nothing.
    """

    def end() -> None:
        shutil.rmtree(directory)
        server.start()

    return Fault("restart empty", server.kill, end, loses=True)


def pids(server) -> Callable[[], list[int]]:
    """
    Return a function that returns the process ids of *server*.
    """

    def now() -> list[int]:
        parent = psutil.Process(server.process.pid)
        return [parent.pid, *(child.pid for child in parent.children(recursive=True))]

    return now


# -- the stores -----------------------------------------------------------------------------------


@contextmanager
def memory(directory: Path) -> Iterator[Subject]:
    """A dictionary, which nothing befalls."""
    yield Subject("memory", "memory://chaos")


@contextmanager
def sqlite(directory: Path) -> Iterator[Subject]:
    """A file of SQLite."""
    path = directory / "results.db"
    url = f"sqlite:///{path}"
    locks: list[sqlite3.Connection] = []

    def lock() -> None:
        locks.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        with contextlib.suppress(sqlite3.OperationalError):
            locks[0].execute("BEGIN IMMEDIATE")

    def delete() -> None:
        for file in directory.glob("results.db*"):
            file.unlink(missing_ok=True)

    faults = [
        disk_full(),
        killed_writer(url),
        Fault("locked", lock, lambda: locks.pop().close()),
        Fault("deleted", delete, loses=True, longest=0.05),
    ]
    yield Subject("sqlite", url, faults=faults)


@contextmanager
def file(directory: Path) -> Iterator[Subject]:
    """A directory of files."""
    records = directory / "records"
    url = f"file://{records}"

    def delete() -> None:
        shutil.rmtree(records, ignore_errors=True)

    faults = [disk_full(), killed_writer(url), Fault("deleted", delete, loses=True, longest=0.05)]
    yield Subject("file", url, faults=faults)


@contextmanager
def redis(directory: Path) -> Iterator[Subject]:
    """A Redis that has every write on the disk before it answers."""
    data = directory / "redis"
    always = ("--appendonly", "yes", "--appendfsync", "always")
    with RedisServer(data, options=always) as server, Proxy("127.0.0.1", server.port) as proxy:
        with names() as silent:

            def lookups_fail() -> None:
                silent.begin()
                proxy.cut()

            faults = [
                *network_faults(proxy),
                Fault(silent.name, lookups_fail, silent.end, longest=silent.longest),
                stopped(pids(server)),
                restarted(server),
                emptied(server, data),
                Fault(
                    "read only",
                    lambda: server.ask("REPLICAOF", "127.0.0.1", 1),
                    lambda: server.ask("REPLICAOF", "NO", "ONE"),
                ),
            ]
            yield Subject(
                "redis",
                f"redis://{NAME}:{proxy.port}/0",
                server.url,
                faults,
                lambda: len(server.ask("CLIENT", "LIST").splitlines()) - 1,
            )


@contextmanager
def sentinel(directory: Path) -> Iterator[Subject]:
    """A Redis that sentinels watch."""
    with Sentinels(directory) as sentinels:
        # On a machine under load a master is silent for half a second and up all the same.
        for one in sentinels.sentinels:
            one.ask("SENTINEL", "SET", sentinels.MASTER, "down-after-milliseconds", 3000)
        victims: list[RedisServer] = []

        def kill() -> None:
            victims.append(sentinels.master)
            victims[0].kill()

        def fail_over() -> None:
            victim = victims.pop()
            sentinels.wait_for_failover(victim)
            victim.options = (
                *victim.options[:0],
                "--replicaof",
                f"127.0.0.1 {sentinels.master.port}",
            )
            victim.start()
            until(lambda: all(map(sentinels._is_complete, sentinels.sentinels)))
            until(lambda: victim.ask("ROLE")[3] == b"connected")

        faults = [
            Fault("failover", kill, fail_over, loses=True, longest=0.1),
            stopped(lambda: [sentinels.sentinels[0].process.pid], "stop a sentinel"),
        ]
        yield Subject("sentinel", sentinels.url, faults=faults)


@contextmanager
def cluster(directory: Path) -> Iterator[Subject]:
    """A cluster of Redis with one replica."""
    with RedisCluster(directory, options=("--cluster-node-timeout", "3000")) as nodes:
        pair = [nodes.nodes[0], nodes.add_replica(nodes.nodes[0])]

        def primary() -> RedisServer:
            return next(node for node in pair if node.ask("ROLE")[0] == b"master")

        victims: list[RedisServer] = []

        def kill() -> None:
            victims.append(primary())
            victims[0].kill()

        def fail_over() -> None:
            victim = victims.pop()
            other = pair[1 - pair.index(victim)]
            until(lambda: other.ask("ROLE")[0] == b"master")
            victim.start()
            until(
                lambda: victim.ask("ROLE")[0] == b"slave" and victim.ask("ROLE")[3] == b"connected"
            )
            until(lambda: all(b"state:ok" in node.ask("CLUSTER", "INFO") for node in nodes.nodes))

        faults = [
            Fault("failover", kill, fail_over, loses=True, longest=0.1),
            stopped(lambda: [nodes.nodes[1].process.pid], "stop a node"),
        ]
        yield Subject("cluster", nodes.url, faults=faults)


@contextmanager
def memcached(directory: Path) -> Iterator[Subject]:
    """A Memcached, which comes back with nothing."""
    with MemcachedServer() as server, Proxy("127.0.0.1", server.port) as proxy, names() as silent:

        def lookups_fail() -> None:
            silent.begin()
            proxy.cut()

        def connections() -> int:
            with server.client as client:
                return int(client.stats()[b"curr_connections"])

        faults = [
            *network_faults(proxy),
            Fault(silent.name, lookups_fail, silent.end, longest=silent.longest),
            stopped(pids(server)),
            restarted(server, "restart empty", loses=True),
        ]
        url = f"memcached://{NAME}:{proxy.port}"
        yield Subject("memcached", url, server.url, faults, connections)


@contextmanager
def mongo(directory: Path) -> Iterator[Subject]:
    """A MongoDB on its own."""
    with MongoServer(directory / "mongo") as server, Proxy("127.0.0.1", server.port) as proxy:
        faults = [*network_faults(proxy), stopped(pids(server)), restarted(server)]
        url = f"mongodb://127.0.0.1:{proxy.port}/results?directConnection=true"
        yield Subject("mongo", url, server.url, faults)


@contextmanager
def replica_set(directory: Path) -> Iterator[Subject]:
    """A replica set of MongoDB."""
    with ReplicaSet(directory / "set") as servers:
        victims: list[MongoServer] = []

        def kill() -> None:
            victims.append(servers.wait_for_primary())
            victims[0].kill()

        def come_back() -> None:
            victims.pop().start()
            servers.wait_for_primary()
            until(servers._is_complete)

        def step_down() -> None:
            with contextlib.suppress(Exception):  # it hangs up
                servers.wait_for_primary().ask(
                    "replSetStepDown", 1, secondaryCatchUpPeriodSecs=0, force=True
                )

        faults = [
            Fault("kill the primary", kill, come_back, longest=2.5),
            Fault("step down", step_down, servers.wait_for_primary, longest=0.5),
            stopped(lambda: [servers.wait_for_primary().process.pid], "stop the primary"),
        ]
        yield Subject("replica_set", servers.url, faults=faults)


@contextmanager
def _sql(name: str, server, *options: str) -> Iterator[Subject]:
    with ExitStack() as stack:
        stack.push(server.__exit__)
        server.start(*options)
        proxy = stack.enter_context(Proxy("127.0.0.1", server.port))
        faults = [
            *network_faults(proxy),
            stopped(pids(server)),
            Fault("restart", server.kill, lambda: server.start(*options)),
        ]
        url = server.url.replace(str(server.port), str(proxy.port))
        yield Subject(name, url, server.url, faults, server.connections)


@contextmanager
def postgresql(directory: Path) -> Iterator[Subject]:
    """A PostgreSQL that has every transaction on the disk before it answers."""
    from .sql import PostgreSQLServer

    with _sql("postgresql", PostgreSQLServer(), "fsync=on") as subject:
        yield subject


@contextmanager
def mariadb(directory: Path) -> Iterator[Subject]:
    """A MariaDB that has every transaction on the disk before it answers."""
    from .sql import MariaDBServer

    with _sql("mariadb", MariaDBServer(), "--innodb-flush-log-at-trx-commit=1") as subject:
        yield subject


@contextmanager
def rpc(directory: Path) -> Iterator[Subject]:
    """A RabbitMQ, read by this process, which holds the records in memory."""
    from .rabbitmq import RabbitMQ

    with RabbitMQ() as broker, Proxy("127.0.0.1", broker.port) as proxy:
        faults = [*network_faults(proxy), restarted(broker)]
        url = broker.url.replace(str(broker.port), str(proxy.port))
        yield Subject("rpc", url, faults=faults)


STORES = {
    store.__name__: store
    for store in (
        memory, sqlite, file, redis, sentinel, cluster, memcached, mongo, replica_set, postgresql,
        mariadb, rpc,
    )
}  # fmt: skip
