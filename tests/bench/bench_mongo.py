"""
What coatcheck costs on MongoDB, against the raw driver doing the same by hand in the same run.

On a replica set of one server, with writes that a majority acknowledges, and on a server that
stands alone, where waits look. See docs/reference/benchmarks.md. Prints a table and JSON.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import harness  # noqa: E402
import mongo_contenders as contenders  # noqa: E402
from bench_redis import Child, _timed_async, _woken, _woken_async  # noqa: E402
from harness import OURS, Row, Samples  # noqa: E402
from support.mongo import MongoServer, ReplicaSet  # noqa: E402

MANY = 1_000


@dataclass
class Size:
    """
    How much is measured.
    """

    rounds: int = 31
    operations: int = 100
    batch_rounds: int = 11
    wake_rounds: int = 7
    wakes: int = 150
    short_polls: int = 300
    long_polls: Sequence[float] = (0.2,) * 20 + (0.5,) * 20 + (1.0,) * 10 + (3.0,) * 5


QUICK = Size(
    rounds=9,
    operations=60,
    batch_rounds=5,
    wake_rounds=5,
    wakes=40,
    short_polls=80,
    long_polls=(0.2,) * 8 + (0.5,) * 6 + (1.0,) * 4,
)


class Throughput:
    """
    Operations of both contenders, in turns.
    """

    def __init__(
        self, server: Any, size: Size, label: str, *, asynchronous: bool, among: Any = contenders
    ) -> None:
        self._size = size
        self._label = f"{label} aio" if asynchronous else label
        self._runner = asyncio.Runner() if asynchronous else None
        self._targets = among.TARGETS
        #: Whether each has a place of its own, of which it reads.
        self._apart = among.APART
        known = among.AIO if asynchronous else among.SYNC
        self._made = {name: make(server.url) for name, (_, make) in known.items()}

    def rows(self) -> Iterator[Row]:
        size = self._size
        for operation in ("store", "fetch"):
            samples = self._samples(operation, size.rounds, size.operations, one_by_one=True)
            name = f"{self._label} {operation}"
            target = self._targets[operation]
            yield harness.speed(name, samples, each=size.operations, target=target)
        for operation in ("store_many", "get_many"):
            samples = self._samples(operation, size.batch_rounds, MANY, one_by_one=False)
            row = harness.speed(
                f"{self._label} {operation} of {MANY:,}", samples, each=MANY, target=0.0
            )
            row.target = None
            yield row

    def _samples(self, operation: str, rounds: int, count: int, *, one_by_one: bool) -> Samples:
        for who in self._made.values() if self._apart else [self._made[OURS]]:
            self._run(who.store_many, [f"read-{n}" for n in range(count)], False)
        sampling = {
            name: self._sampler(name, getattr(who, operation), count, one_by_one)
            for name, who in self._made.items()
        }
        return harness.in_turns(sampling, rounds)

    def _sampler(
        self, name: str, act: Callable[[Any], Any], count: int, one_by_one: bool
    ) -> Callable[[int], float]:
        reading = act.__name__ in ("fetch", "get_many")

        def sample(number: int) -> float:
            prefix = "read" if reading else f"{self._label}-{name}-{act.__name__}-{number}"
            return self._run(act, [f"{prefix}-{i}" for i in range(count)], one_by_one)

        return sample

    def _run(self, act: Callable[[Any], Any], ids: list[str], one_by_one: bool) -> float:
        if self._runner is not None:
            return self._runner.run(_timed_async(act, ids, one_by_one=one_by_one))
        if not one_by_one:
            return harness.timed(lambda: act(ids))
        return harness.timed(lambda: [act(task_id) for task_id in ids])

    def close(self) -> None:
        for who in self._made.values():
            closing = who.close()
            if self._runner is not None:
                self._runner.run(closing)
        if self._runner is not None:
            self._runner.close()


def wake_rows(
    server: Any, size: Size, *, asynchronous: bool, among: Any = contenders, where: str = "set"
) -> Iterator[Row]:
    """
    Iterate over rows on the time from the acknowledged store in one process to the return of the
    wait in another, which both are told of by the server.
    """
    known = among.AIO if asynchronous else among.SYNC
    side, label = ("aio", f"{where} aio wake-up") if asynchronous else ("sync", f"{where} wake-up")
    with Child("storing.py", server.url) as storer, asyncio.Runner() as runner:
        made = {name: make(server.url) for name, (_, make) in known.items()}

        def one(name: str, task_id: str) -> float:
            if asynchronous:
                return runner.run(_woken_async(made[name], storer, name, task_id))
            return _woken(made[name], storer, name, task_id)

        rounds = []
        for number in range(size.wake_rounds + 1):
            sampling = {
                name: lambda i, name=name, n=number: one(name, f"{side}-{name}-{n}-{i}")
                for name in made
            }
            found = harness.in_turns(sampling, size.wakes if number else 10, warm_up=0)
            if number:
                rounds.append(found)
        for who in made.values():
            closing = who.close()
            if asynchronous:
                runner.run(closing)
    for percent, target in ((50, 1.1), (99, None)):
        samples = {n: [harness.percentile(found[n], percent) for found in rounds] for n in made}
        yield harness.delay(f"{label} p{percent}", samples, target=target)


def poll_rows(server: MongoServer, size: Size, *, asynchronous: bool) -> Iterator[Row]:
    """
    Iterate over rows on the same where waits look: by how long the result took.

    From the start of the store to the return of the wait, so that the store's own time is in them,
    but for the row that says otherwise.
    """
    label = "alone aio wake-up" if asynchronous else "alone wake-up"
    make: Any = (contenders.AIO if asynchronous else contenders.SYNC)[OURS][1]
    with Child("storing.py", server.url) as storer, asyncio.Runner() as runner:
        who = make(server.url)

        def late(number: int, pause: float) -> tuple[float, float]:
            task_id = f"{label}-{pause}-{number}"
            storer.tell(side="sync", name=OURS, ids=[task_id], pause=pause)
            if asynchronous:
                runner.run(who.wake(task_id))
            else:
                who.wake(task_id)
            end = time.monotonic()
            answer = storer.answer()
            return end - answer["start"], end - answer["end"]

        late(-1, 0.01)
        pauses = [0.002 + 0.045 * n / size.short_polls for n in range(size.short_polls)]
        short = [late(n, pause) for n, pause in enumerate(pauses)]
        started, acknowledged = (_median(times) * 1e3 for times in zip(*short, strict=True))
        yield Row(f"{label} p50, under 50 ms", "ms", started, target=3)
        yield Row(f"{label} p50, under 50 ms, from the acknowledgement", "ms", acknowledged)
        shares = [100 * late(n, pause)[0] / pause for n, pause in enumerate(size.long_polls)]
        yield Row(f"{label} p50, of the time waited", "%", _median(shares), target=10)
        worst = harness.percentile(shares, 95)
        yield Row(f"{label} p95, of the time waited", "%", worst, target=15)
        closing = who.close()
        if asynchronous:
            runner.run(closing)


def _median(values: Sequence[float]) -> float:
    return harness.percentile(values, 50)


PARTS = ("sync", "aio", "wake", "poll")


def measured(size: Size, parts: Sequence[str]) -> Iterator[Row]:
    """
    Iterate over the rows of *parts*.
    """
    with tempfile.TemporaryDirectory() as directory:
        with ReplicaSet(Path(directory) / "set", 1) as servers:
            server = servers.primary
            yield from throughput(server, size, "set", parts)
            for asynchronous in (False, True):
                if "wake" in parts:
                    yield from wake_rows(server, size, asynchronous=asynchronous)
        with MongoServer(Path(directory) / "alone") as server:
            yield from throughput(server, size, "alone", parts)
            for asynchronous in (False, True):
                if "poll" in parts:
                    yield from poll_rows(server, size, asynchronous=asynchronous)


def throughput(server: MongoServer, size: Size, label: str, parts: Sequence[str]) -> Iterator[Row]:
    """
    Iterate over the rows on single operations and batches.
    """
    assert server.process is not None
    for part, asynchronous in (("sync", False), ("aio", True)):
        if part in parts:
            with harness.on_one_cpu(server.process.pid):
                made = Throughput(server, size, label, asynchronous=asynchronous)
                yield from made.rows()
                made.close()


def main() -> int:
    """
    Measure, by the command line.
    """
    options = harness.options_of(harness.parser_for("MongoDB", PARTS), PARTS)
    rows = measured(QUICK if options.quick else Size(), options.only)
    return harness.concluded(rows, options, about={"server": "mongod 6.0"})


if __name__ == "__main__":
    sys.exit(main())
