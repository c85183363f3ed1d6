"""
What coatcheck costs on Memcached, against pymemcache doing the same by hand in the same run.

Throughput is measured with client and server on one CPU, waits without that. See
docs/reference/benchmarks.md for what each row is. Prints a table and JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import contenders  # noqa: E402
import harness  # noqa: E402
import looking  # noqa: E402
from harness import OURS, RAW, Row  # noqa: E402
from pymemcache.client.base import Client  # noqa: E402
from support.memcached import CELERYS, MemcachedServer  # noqa: E402

import coatcheck  # noqa: E402

MANY = 1_000


@dataclass
class Size:
    """
    How much is measured.
    """

    rounds: int = 41
    operations: int = 200
    batch_rounds: int = 21
    wakes: int = 200
    late_wakes: int = 20
    seconds: float = 10.0


QUICK = Size(rounds=11, operations=100, batch_rounds=7, wakes=40, late_wakes=5, seconds=10.0)


def document(task_id: str) -> dict[str, Any]:
    """
    Return by hand what coatcheck stores.
    """
    expires_at = datetime.now(UTC) + timedelta(seconds=contenders.EXPIRES)
    ours = {"v": 1, "write_id": os.urandom(12).hex(), "expires_at": expires_at.isoformat()}
    return {**contenders.document(task_id), **ours}


class Raw:
    """
    pymemcache by hand, as Celery configures it.
    """

    def __init__(self, place: str) -> None:
        self.client = Client(place, **CELERYS)

    def store(self, task_id: str) -> None:
        data = json.dumps(document(task_id))
        self.client.set(contenders.PREFIX + task_id, data, contenders.EXPIRES)

    def fetch(self, task_id: str) -> None:
        contenders.touch(self.client.get(contenders.PREFIX + task_id))

    def store_many(self, task_ids: Sequence[str]) -> None:
        values = {contenders.PREFIX + id_: json.dumps(document(id_)) for id_ in task_ids}
        self.client.set_many(values, contenders.EXPIRES)

    def get_many(self, task_ids: Sequence[str]) -> None:
        for data in self.client.get_many([contenders.PREFIX + id_ for id_ in task_ids]).values():
            contenders.touch(data)

    def close(self) -> None:
        self.client.close()


class Throughput:
    """
    Operations of both, one CPU for all.
    """

    def __init__(self, server: MemcachedServer, size: Size) -> None:
        self._size = size
        self._ours = contenders.Coatcheck(server.url)
        self._made: dict[str, Any] = {OURS: self._ours, RAW: Raw(server.place)}

    def rows(self) -> Iterator[Row]:
        size = self._size
        for name, prepare, target in (
            ("store", None, 0.85),
            ("store over an unready record", self._ours.results.mark_as_started, 0.45),
        ):
            found = self._sampled("store", prepare)
            yield harness.speed(name, found, each=size.operations, target=target)
        read = [f"read-{n}" for n in range(MANY)]
        self._ours.store_many(read)
        some = read[: size.operations]
        found = self._timed(lambda who, _: [who.fetch(id_) for id_ in some], size.rounds)
        yield harness.speed("fetch", found, each=size.operations, target=0.9)
        found = self._timed(
            lambda who, n: who.store_many([f"{id(who)}-{n}-{i}" for i in range(MANY)]),
            size.batch_rounds,
        )
        yield harness.speed(f"store_many of {MANY:,}", found, each=MANY, target=None)
        found = self._timed(lambda who, _: who.get_many(read), size.batch_rounds)
        yield harness.speed(f"get_many of {MANY:,}", found, each=MANY, target=None)

    def _sampled(
        self, operation: str, prepare: Callable[[str], object] | None
    ) -> dict[str, list[float]]:
        def sampler(name: str) -> Callable[[int], float]:
            act = getattr(self._made[name], operation)

            def sample(number: int) -> float:
                kind = "over" if prepare else "new"
                ids = [f"{name}-{kind}-{number}-{i}" for i in range(self._size.operations)]
                for id_ in ids if prepare else ():
                    prepare(id_)
                return harness.timed(lambda: [act(id_) for id_ in ids])

            return sample

        return harness.in_turns({name: sampler(name) for name in self._made}, self._size.rounds)

    def _timed(self, act: Callable[[Any, int], object], rounds: int) -> dict[str, list[float]]:
        def sampler(who: Any) -> Callable[[int], float]:
            return lambda number: harness.timed(lambda: act(who, number))

        return harness.in_turns({name: sampler(who) for name, who in self._made.items()}, rounds)

    def close(self) -> None:
        for who in self._made.values():
            who.close()


def cpu_rows(server: MemcachedServer, size: Size) -> Iterator[Row]:
    """
    Return rows on the CPU time that waits use while nothing comes, from their start.
    """
    for count, target in ((1, 3), (MANY, 10)):
        with coatcheck.by_url(server.url) as results:
            results.exists("warm")
            ids = [f"never-{count}-{n}" for n in range(count)]
            before, start = time.process_time(), time.monotonic()
            with suppress(coatcheck.WaitTimeoutError):
                list(results.as_completed(ids, timeout=size.seconds))
            busy = (time.process_time() - before) / (time.monotonic() - start)
        name = f"CPU of {count:,} waits of {size.seconds:g} s"
        yield Row(name, "%", 100 * busy, target=target)


PARTS = ("sync", "wake", "cpu")


def measured(server: MemcachedServer, size: Size, parts: Sequence[str]) -> Iterator[Row]:
    """
    Iterate over the rows of *parts*.
    """
    assert server.process is not None
    if "sync" in parts:
        with harness.on_one_cpu(server.process.pid):
            throughput = Throughput(server, size)
            yield from throughput.rows()
            throughput.close()
    if "wake" in parts:
        yield from looking.wake_rows(server.url, wakes=size.wakes, late_wakes=size.late_wakes)
    if "cpu" in parts:
        yield from cpu_rows(server, size)


def main() -> int:
    """
    Measure, by the command line.
    """
    options = harness.options_of(harness.parser_for("Memcached", PARTS), PARTS)
    size = QUICK if options.quick else Size()
    with MemcachedServer() as server, server.client as client:
        about = {"server": client.version().decode()}
        return harness.concluded(measured(server, size, options.only), options, about=about)


if __name__ == "__main__":
    sys.exit(main())
