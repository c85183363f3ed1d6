"""
How much room a record takes in each store, and how many connections a process takes. The figures of
docs/how-to/deploy.md come from here.

Prints a table and JSON. Values are random text, which stores hardly compress.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import harness
import psutil
from harness import Row
from support.memcached import MemcachedServer
from support.mongo import ReplicaSet
from support.rabbitmq import RabbitMQ
from support.redis import RedisServer
from support.sql import MariaDBServer, PostgreSQLServer

import coatcheck
from coatcheck import aio

#: The lengths of values, with how many records of each are stored; `--quick` stores a tenth.
SIZES = {"100 bytes": (100, 20_000), "1 KB": (1_000, 20_000), "10 KB": (10_000, 2_000)}
WAITS, AT_ONCE = 1_000, 50


@dataclass
class Store:
    """A store with ways to ask it about itself; the difference of two answers counts."""

    url: str
    #: The bytes that its records take.
    room: Callable[[], float]
    connections: Callable[[], int] | None = None


@contextmanager
def redis(directory: Path) -> Iterator[Store]:
    with RedisServer(directory) as server:

        def room() -> int:
            with server.client as client:
                found = client.info("memory")
            return int(found["used_memory"] - found["mem_clients_normal"])

        def connections() -> int:
            with server.client as client:
                return len(client.client_list())

        yield Store(server.url, room, connections)


@contextmanager
def memcached(directory: Path) -> Iterator[Store]:
    with MemcachedServer(("-m", "1024")) as server:

        def stat(name: bytes, command: bytes = b"stats") -> int:
            with server.client as client:
                lines = client.raw_command(command + b"\r\n", end_tokens=b"END\r\n").splitlines()
                found = dict(line.split()[1:3] for line in lines if line.startswith(b"STAT"))
                return int(found[name])

        yield Store(
            server.url,
            lambda: stat(b"total_malloced", b"stats slabs"),
            lambda: stat(b"curr_connections"),
        )


@contextmanager
def mongo(directory: Path) -> Iterator[Store]:
    with ReplicaSet(directory, 1) as servers:
        server = servers.primary

        def room() -> float:
            server.ask("fsync")
            stats = server.client.results.command("collStats", "celery_taskmeta")
            return float(stats["storageSize"] + stats["totalIndexSize"])

        def connections() -> int:
            return int(server.ask("serverStatus")["connections"]["current"])

        yield Store(servers.url, room, connections)


@contextmanager
def postgresql(directory: Path) -> Iterator[Store]:
    with PostgreSQLServer() as server:
        size = "SELECT pg_total_relation_size('celery_taskmeta')"
        yield Store(server.url, lambda: server.execute(size)[0][0], server.connections)


@contextmanager
def mariadb(directory: Path) -> Iterator[Store]:
    with MariaDBServer() as server:
        size = (
            "SELECT data_length + index_length FROM information_schema.tables "
            "WHERE table_name = 'celery_taskmeta'"
        )

        def room() -> float:
            server.execute("ANALYZE TABLE celery_taskmeta")
            return server.execute(size)[0][0]

        yield Store(server.url, room, server.connections)


@contextmanager
def sqlite(directory: Path) -> Iterator[Store]:
    file = directory / "results.db"

    def room() -> float:
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return file.stat().st_size

    yield Store(f"sqlite:///{file}", room)


@contextmanager
def files(directory: Path) -> Iterator[Store]:
    def room() -> float:
        return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())

    yield Store(f"file://{directory}/records", room)


@contextmanager
def memory(directory: Path) -> Iterator[Store]:
    yield Store("memory://", lambda: psutil.Process().memory_info().rss)


@contextmanager
def rpc(directory: Path) -> Iterator[Store]:
    with RabbitMQ() as broker:
        yield Store(broker.url, lambda: psutil.Process().memory_info().rss, broker.open_connections)


STORES = {
    "redis": redis, "memcached": memcached, "mongo": mongo, "postgresql": postgresql,
    "mariadb": mariadb, "sqlite": sqlite, "files": files, "memory": memory, "rpc": rpc,
}  # fmt: skip


def room_rows(name: str, store: Store, *, quick: bool) -> Iterator[Row]:
    """Iterate over the bytes of a record for each size of value."""
    with coatcheck.by_url(store.url) as results:
        results.store_result("first", None)
        for label, (length, count) in SIZES.items():
            fill(results, length, 100)  # the store allocates some room once
            before = store.room()
            made = count // 10 if quick else count
            fill(results, length, made)
            yield Row(f"{name} {label}", "B", (store.room() - before) / made)


def fill(results: coatcheck.Results, length: int, count: int) -> None:
    """Store values of *length* characters."""
    for start in range(0, count, 200):
        numbers = range(start, min(start + 200, count))
        results.store_many(
            {secrets.token_hex(16): secrets.token_urlsafe(length)[:length] for _ in numbers}
        )


def connection_rows(name: str, store: Store) -> Iterator[Row]:
    """Iterate over the connections of a process that waits, and that stores by many threads or tasks."""
    time.sleep(1)  # until the server has noticed that others are closed
    before = store.connections()

    def opened() -> int:
        return store.connections() - before

    with coatcheck.by_url(store.url) as results:
        waiting = threading.Thread(target=wait_in_vain, args=[results])
        waiting.start()
        time.sleep(2)
        yield Row(f"{name} {WAITS:,} waits", "", opened())
        with ThreadPoolExecutor(AT_ONCE) as threads:
            threads.map(
                results.store_result, [f"id-{number}" for number in range(5_000)], range(5_000)
            )
        yield Row(f"{name} and {AT_ONCE} threads that store", "", opened())
        waiting.join()
    while opened() > 0:
        time.sleep(0.1)
    yield from asyncio.run(aio_connection_rows(name, store.url, opened))


def wait_in_vain(results: coatcheck.Results) -> None:
    """Wait for tasks that do not end."""
    with suppress(coatcheck.WaitTimeoutError):
        list(results.as_completed([f"never-{number}" for number in range(WAITS)], timeout=20))


async def aio_connection_rows(name: str, url: str, opened: Callable[[], int]) -> list[Row]:
    """Return the same as `connection_rows` for asyncio."""
    async with aio.by_url(url) as results:
        waits = [
            asyncio.create_task(results.wait_for(f"never-{number}", timeout=600))
            for number in range(WAITS)
        ]
        await asyncio.sleep(2)
        rows = [Row(f"{name} aio {WAITS:,} waits", "", await asyncio.to_thread(opened))]
        for number in range(20):
            await asyncio.gather(
                *[results.store_result(f"{number}-{other}", "value") for other in range(AT_ONCE)]
            )
        found = await asyncio.to_thread(opened)
        rows.append(Row(f"{name} aio and {AT_ONCE} tasks that store", "", found))
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return rows


def measured(names: list[str], *, quick: bool) -> Iterator[Row]:
    """Iterate over the rows of the stores."""
    for name in names:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            store = stack.enter_context(STORES[name](directory))
            yield from room_rows(name, store, quick=quick)
            if store.connections is not None:
                yield from connection_rows(name, store)


def main() -> int:
    """Measure, by the command line."""
    names = list(STORES)
    options = harness.options_of(harness.parser_for("each store, in room", names), names)
    return harness.concluded(measured(options.only, quick=options.quick), options, about={})


if __name__ == "__main__":
    sys.exit(main())
