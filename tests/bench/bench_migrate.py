"""
Migrations of many records between every pair of stores: how long, how fast, and how much memory.

    python tests/bench/bench_migrate.py [--records 100000]

Each migration is a process of its own, `coatcheck migrate`, whose largest size is measured. The target is empty
before it, and the counts are checked after it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.memcached import MemcachedServer
from support.mongo import MongoServer
from support.redis import RedisServer
from support.sql import PostgreSQLServer

import coatcheck

#: The command line, which prints its largest size in kilobytes at its end.
PROGRAM = """
import re, sys, coatcheck.cli
status = coatcheck.cli.main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
sys.exit(status)
"""


class Store(NamedTuple):
    url: str
    empty: Callable[[], object]
    is_source: bool = True


def stores(stack: ExitStack, directory: Path) -> Iterator[tuple[str, Store]]:
    """
    Start the servers.
    """
    redis = stack.enter_context(RedisServer(directory / "redis"))
    mongo = stack.enter_context(MongoServer(directory / "mongo"))
    postgresql = stack.enter_context(PostgreSQLServer())
    memcached = stack.enter_context(MemcachedServer(options=("-m", "1024")))
    yield "redis", Store(redis.url, lambda: redis.ask("FLUSHALL"))
    yield "postgresql", Store(postgresql.url, postgresql.empty)
    yield "mongodb", Store(mongo.url, mongo.empty)
    for name in ("sqlite", "file"):
        place = directory / name
        url = f"sqlite:///{place}/results.db" if name == "sqlite" else f"file://{place}/records"
        yield name, Store(url, lambda place=place: clear(place))
    yield "memcached", Store(memcached.url, lambda: memcached.ask("flush_all"), is_source=False)


def clear(place: Path) -> None:
    subprocess.run(["rm", "-rf", place], check=True)
    place.mkdir()


def fill(url: str, count: int) -> None:
    """
    Store records whose lives differ, as those of an application do.
    """
    with coatcheck.by_url(url) as results:
        for start in range(0, count, 1000):
            values = {f"task-{n}": {"n": n, "text": "x" * 100} for n in range(start, start + 1000)}
            results.store_many(values, expires=20_000 + start / 10)
        for n in range(count // 1000):
            results.save_group(f"group-{n}", [f"task-{n}"])


def migrate(source: str, target: str) -> tuple[float, float, dict[str, int]]:
    """
    Return the seconds, the megabytes and the counts of one migration.
    """
    began = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM, "migrate", source, target, "--json"]
    # On a busy machine a store may time out: as its documentation says, the command is run again.
    while (done := subprocess.run(command, stdout=subprocess.PIPE, check=False)).returncode == 2:
        print("run again", file=sys.stderr)
    assert done.returncode == 0, done
    counts, size = done.stdout.splitlines()
    return time.perf_counter() - began, int(size) / 1024, json.loads(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--only", default="", help="a part of the name of a pair")
    given = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        there = dict(stores(stack, directory))
        for name, source in there.items():
            targets = [t for t in there if t != name and given.only in f"{name} {t}"]
            if not source.is_source or not targets:
                continue
            for store in there.values():
                store.empty()
            fill(source.url, given.records)
            for other in targets:
                seconds, megabytes, counts = migrate(source.url, there[other].url)
                assert counts["verified"] == given.records, counts
                rate = given.records / seconds
                print(
                    f"{name:10} -> {other:10} {seconds:6.1f} s {rate:7.0f}/s {megabytes:5.0f} MB",
                    flush=True,
                )
                there[other].empty()


if __name__ == "__main__":
    main()
