"""
What coatcheck costs on Redis, against the raw driver doing the same by hand in the same run.

Throughput is measured with client and server on one CPU, waits without that. See
docs/reference/benchmarks.md for what each row is. Prints a table and JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import contenders  # noqa: E402
import harness  # noqa: E402
from harness import OURS, RAW, Row, Samples  # noqa: E402
from support.redis import RedisServer  # noqa: E402

MANY = 1_000
#: Ratios to the raw driver doing the same work.
TARGETS = {
    "store": 1.0,
    "store 10 KB": 0.8,
    "store 1 MB": 0.9,
    "fetch": 0.95,
    "fetch 10 KB": 0.5,
    "fetch 1 MB": 0.7,
    "store_many": 0.6,
    "get_many": 0.25,
}


@dataclass
class Size:
    """
    How much is measured.
    """

    rounds: int = 41
    operations: int = 200
    batch_rounds: int = 21
    wake_rounds: int = 7
    wakes: int = 150
    wait_rounds: int = 5
    idle_seconds: float = 11.0
    growth: Sequence[int] = (100, 1_000, 10_000, 100_000)


QUICK = Size(
    rounds=11,
    operations=100,
    batch_rounds=7,
    wake_rounds=5,
    wakes=40,
    wait_rounds=5,
    idle_seconds=2.0,
    growth=(100, 1_000, 10_000),
)


class Child:
    """
    Another Python process, which is told things by lines and answers in JSON.
    """

    def __init__(self, program: str, *arguments: str) -> None:
        command = [sys.executable, str(HERE / program), *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, **what: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.process.kill()
        self.process.communicate()  # the end of what it is told


# -- throughput -------------------------------------------------------------------------------


class Throughput:
    """
    Operations of each contender, one CPU for all.
    """

    def __init__(self, server: RedisServer, size: Size, *, asynchronous: bool) -> None:
        self._server = server
        self._size = size
        known = contenders.AIO if asynchronous else contenders.SYNC
        self._label = "aio " if asynchronous else ""
        self._runner = asyncio.Runner() if asynchronous else None
        self._made = {name: known[name][1](server.url) for name in contenders.installed(known)}
        self._cpu: Samples = {}

    def rows(self) -> Iterator[Row]:
        size, label = self._size, self._label
        for called, (value, part) in contenders.SIZES.items():
            self._take(value)
            count = max(2, int(size.operations * part))
            for operation in ("store", "fetch"):
                wall, cpu = self._samples(
                    operation, size.rounds, count, one_by_one=True, called=called
                )
                name, target = f"{label}{operation}{called}", TARGETS[operation + called]
                yield harness.speed(name, wall, each=count, target=target)
                limit = 1.3 if name == "store" else None
                yield harness.cost(f"  CPU of {name}", cpu, each=count, target=limit)
        self._take(contenders.VALUE)
        for operation in ("store_many", "get_many"):
            wall, _ = self._samples(operation, size.batch_rounds, MANY, one_by_one=False)
            name = f"{label}{operation} of {MANY:,}"
            yield harness.speed(name, wall, each=MANY, target=TARGETS[operation])

    def concurrent_rows(self) -> Iterator[Row]:
        """
        Return how many times the rate of one after the other many tasks at once have.
        """
        for operation in ("store", "fetch"):
            act = getattr(self._made[OURS], operation)
            together = self._sampler("together", gathered(act), MANY, one_by_one=False)
            in_turn = self._sampler("in-turn", act, MANY, one_by_one=True)
            ids = [f"{OURS}-{number}" for number in range(MANY)]
            self._run(self._made[OURS].store_many, ids, one_by_one=False)
            samples = harness.in_turns({OURS: together, RAW: in_turn}, self._size.batch_rounds)
            name = f"aio {operation} of {MANY:,} at once, against one by one"
            yield harness.speed(name, samples, each=MANY, target=3.0)

    def _take(self, value: Any) -> None:
        for who in self._made.values():
            who.value = value

    def _samples(
        self, operation: str, rounds: int, count: int, *, one_by_one: bool, called: str = ""
    ) -> tuple[Samples, Samples]:
        """
        Return wall times and times of this process's CPU.
        """
        able = {name: who for name, who in self._made.items() if hasattr(who, operation)}
        tag = called.replace(" ", "-")
        for name, who in able.items():
            self._run(who.store, [f"{name}{tag}-{n}" for n in range(count)], one_by_one=True)
        self._cpu = {name: [] for name in able}
        sampling = {
            name: self._sampler(
                name, getattr(who, operation), count, one_by_one=one_by_one, tag=tag
            )
            for name, who in able.items()
        }
        return harness.in_turns(sampling, rounds, warm_up=0), self._cpu

    def _sampler(
        self,
        name: str,
        act: Callable[[Any], Any],
        count: int,
        *,
        one_by_one: bool,
        tag: str = "",
    ) -> Callable[[int], float]:
        # Stores are of new ids; what is read is the same for both sides of the ratio.
        reading = act.__name__ in ("fetch", "get_many")
        owner = OURS if name in (RAW, "together", "in-turn") else name

        def sample(number: int) -> float:
            prefix = f"{owner}{tag}" if reading else f"{name}{tag}-{act.__name__}-{number}"
            ids = [f"{prefix}-{i}" for i in range(count)]
            before = time.process_time()
            took = self._run(act, ids, one_by_one=one_by_one)
            self._cpu.setdefault(name, []).append(time.process_time() - before)
            return took

        return sample

    def _run(self, act: Callable[[Any], Any], ids: list[str], *, one_by_one: bool) -> float:
        if self._runner is not None:
            return self._runner.run(_timed_async(act, ids, one_by_one=one_by_one))
        if not one_by_one:
            return harness.timed(lambda: act(ids))
        start = time.perf_counter()
        for task_id in ids:
            act(task_id)
        return time.perf_counter() - start

    def close(self) -> None:
        for who in self._made.values():
            closing = who.close()
            if self._runner is not None:
                self._runner.run(closing)
        if self._runner is not None:
            self._runner.close()


def gathered(act: Callable[[str], Any]) -> Callable[[Sequence[str]], Any]:
    """
    Return what does *act* for many ids at once.
    """

    async def together(ids: Sequence[str]) -> None:
        await asyncio.gather(*map(act, ids))

    together.__name__ = act.__name__
    return together


async def _timed_async(act: Callable[[Any], Any], ids: list[str], *, one_by_one: bool) -> float:
    start = time.perf_counter()
    if one_by_one:
        for task_id in ids:
            await act(task_id)
    else:
        await act(ids)
    return time.perf_counter() - start


# -- waking up --------------------------------------------------------------------------------


def wake_rows(server: RedisServer, size: Size, *, asynchronous: bool) -> list[Row]:
    """
    Return rows on the time from the store in one process to the return of the wait in another.
    """
    known = contenders.AIO if asynchronous else contenders.SYNC
    side = "aio" if asynchronous else "sync"
    label = "aio wake-up" if asynchronous else "wake-up"
    names = contenders.installed(known)
    with Child("storing.py", server.url) as storer, asyncio.Runner() as runner:
        made = {name: known[name][1](server.url) for name in names}
        polling = [name for name in names if hasattr(made[name], "polls")]

        def one(name: str, task_id: str) -> float:
            if asynchronous:
                return runner.run(_woken_async(made[name], storer, name, task_id))
            return _woken(made[name], storer, name, task_id)

        rounds: list[dict[str, list[float]]] = []
        for number in range(size.wake_rounds + 1):
            sampling = {
                name: lambda i, name=name, n=number: one(name, f"{side}-{name}-{n}-{i}")
                for name in names
            }
            many = {name: sampling[name] for name in names if name not in polling}
            few = {name: sampling[name] for name in polling}
            found = harness.in_turns(many, size.wakes if number else 20, warm_up=0)
            found |= harness.in_turns(few, size.wakes // 15 if number else 2, warm_up=0)
            if number:
                rounds.append(found)
        for who in made.values():
            closing = who.close()
            if asynchronous:
                runner.run(closing)
    rows = []
    for percent, target in ((50, 1.15), (99, 1.3)):
        samples = {
            name: [harness.percentile(found[name], percent) for found in rounds]
            for name in names
            if percent == 50 or name not in polling
        }
        rows.append(harness.delay(f"{label} p{percent}", samples, target=target))
    return rows


#: Seconds from the call of the wait to the store, so that the wait is under way.
_BEFORE = 0.006


def _woken(who: Any, storer: Child, name: str, task_id: str) -> float:
    who.listen(task_id)
    storer.tell(side="sync", name=name, ids=[task_id], pause=_BEFORE)
    who.wake(task_id)
    end = time.monotonic()
    return float(end - storer.answer()["start"])


async def _woken_async(who: Any, storer: Child, name: str, task_id: str) -> float:
    await who.listen(task_id)
    storer.tell(side="aio", name=name, ids=[task_id], pause=_BEFORE)
    await who.wake(task_id)
    end = time.monotonic()
    return float(end - storer.answer()["start"])


# -- many waits -------------------------------------------------------------------------------


class ManyWaits:
    """
    Many waits in one process, and what it holds meanwhile.
    """

    #: How each way of waiting is called in the table.
    WAYS = {"as_completed": "as_completed", "gather": "aio gather", "threads": "threads"}

    def __init__(self, server: RedisServer, storer: Child, size: Size) -> None:
        self._server = server
        self._storer = storer
        self._size = size
        self._number = 0
        #: What was seen of each way, the largest of all rounds.
        self.connections: dict[str, int] = {}
        self.megabytes: dict[str, float] = {}

    def alone(self, count: int) -> float:
        """
        Return how long the stores take while nobody waits.
        """
        stored = self._stored(self._fresh(), count)
        return float(stored["end"] - stored["start"])

    def waited(self, way: str, count: int, *, idle: float = 0.0) -> tuple[float, float]:
        """
        Return the time from the first store to the return of the last wait, and the CPU used
        before, in *idle* seconds without any store, as a fraction.
        """
        prefix = self._fresh()
        with Child("waiting.py", self._server.url, way, prefix, str(count)) as child:
            process = psutil.Process(child.process.pid)
            self._until_subscribed(count)
            busy = _busy(process, idle) if idle else 0.0
            self._look(way, process)
            start = self._stored(prefix, count)["start"]
            answer = child.answer()
            self._look(way, process)
        if answer["found"] != count:
            raise RuntimeError(f"{way} returned {answer['found']} of {count} results")
        return float(answer["end"] - start), busy

    def _fresh(self) -> str:
        self._number += 1
        self._server.client.flushall()
        return f"waits-{self._number}"

    def _stored(self, prefix: str, count: int) -> dict[str, Any]:
        ids = [f"{prefix}-{number}" for number in range(count)]
        self._storer.tell(side="sync", name=OURS, ids=ids, pause=0.3)
        return self._storer.answer()

    def _subscribers(self) -> list[int]:
        with self._server.client as client:
            found = [int(one["sub"]) for one in client.client_list()]
        return [channels for channels in found if channels]

    def _until_subscribed(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while sum(self._subscribers()) < count:
            if time.monotonic() > deadline:
                raise RuntimeError("the waits did not come about")
            time.sleep(0.05)
        time.sleep(0.2)

    def _look(self, way: str, process: psutil.Process) -> None:
        held = len(self._subscribers())
        self.connections[way] = max(self.connections.get(way, 0), held)
        megabytes = process.memory_info().rss / 1e6
        self.megabytes[way] = max(self.megabytes.get(way, 0.0), megabytes)

    def rows(self, count: int, ways: Sequence[str], target: float | None) -> Iterator[Row]:
        """
        Return how much longer stores and waits take than stores alone.
        """
        sampling: dict[str, Callable[[int], float]] = {RAW: lambda _: self.alone(count)}
        sampling |= {way: lambda _, way=way: self.waited(way, count)[0] for way in ways}
        samples = harness.in_turns(sampling, self._size.wait_rounds)
        for way in ways:
            both = {OURS: samples[way], RAW: samples[RAW]}
            name = f"{count:,} waits, {self.WAYS[way]}"
            yield harness.delay(name, both, target=target)

    def growth_row(self, counts: Sequence[int]) -> Row:
        """
        Return how many times the shortest time of one id the longest is, over how many there are.

        A store takes longer between two CPUs than on one, and where it is depends on how long it
        all takes: so the stores have one CPU, and those who wait both.
        """
        each = []
        pids = (self._server.process.pid, self._storer.process.pid)
        with harness.on_one_cpu(*pids, this_thread=False):
            for count in counts:
                rounds = range(self._size.wait_rounds if count <= 10_000 else 1)
                each.append(min(self.waited("as_completed", count)[0] for _ in rounds) / count)
        name = f"  time per id, {counts[0]:,} to {counts[-1]:,} waits"
        return Row(name, "x", max(each) / min(each), target=1.5)

    def held_rows(self, ways: Sequence[str]) -> Iterator[Row]:
        """
        Return what was held by those that waited.
        """
        for way in ways:
            name = self.WAYS[way]
            held = float(self.connections[way])
            yield Row(f"  subscribers, {name}", "", held, target=2)
        for way in ways:
            name, megabytes = self.WAYS[way], self.megabytes[way]
            limit = None if way == "threads" else 60
            yield Row(f"  memory, {name}", "MB", megabytes, target=limit)

    def idle_rows(self, count: int, ways: Sequence[str]) -> Iterator[Row]:
        """
        Return the CPU time used while nothing happens.
        """
        for way in ways:
            _, busy = self.waited(way, count, idle=self._size.idle_seconds)
            name = f"  CPU of {count:,} idle waits, {self.WAYS[way]}"
            yield Row(name, "%", 100 * busy, target=1)


def _busy(process: psutil.Process, seconds: float) -> float:
    """
    Return the fraction of a core that *process* uses for *seconds*.
    """
    time.sleep(0.5)
    before, start = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    after, end = sum(process.cpu_times()[:2]), time.monotonic()
    return max(after - before, 0.0) / (end - start)


# -- all --------------------------------------------------------------------------------------

PARTS = ("sync", "aio", "wake", "waits")


def measured(server: RedisServer, size: Size, parts: Sequence[str]) -> Iterator[Row]:
    """
    Iterate over the rows of *parts*.
    """
    assert server.process is not None
    for part, asynchronous in (("sync", False), ("aio", True)):
        if part in parts:
            with harness.on_one_cpu(server.process.pid):
                throughput = Throughput(server, size, asynchronous=asynchronous)
                yield from throughput.rows()
                throughput.close()
    if "aio" in parts:  # with both CPUs, like waits
        throughput = Throughput(server, size, asynchronous=True)
        yield from throughput.concurrent_rows()
        throughput.close()
    if "wake" in parts:
        yield from wake_rows(server, size, asynchronous=False)
        yield from wake_rows(server, size, asynchronous=True)
    if "waits" in parts:
        with Child("storing.py", server.url) as storer:
            waits = ManyWaits(server, storer, size)
            yield from waits.rows(1_000, ["as_completed", "gather", "threads"], None)
            yield from waits.held_rows(["threads"])
            waits = ManyWaits(server, storer, size)
            yield from waits.rows(10_000, ["as_completed", "gather"], 1.2)
            yield from waits.idle_rows(10_000, ["as_completed", "gather"])
            yield from waits.held_rows(["as_completed", "gather"])
            yield waits.growth_row(size.growth)


@contextmanager
def started(kind: str) -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory() as directory, RedisServer(Path(directory), kind) as server:
        yield server


def main() -> int:
    """
    Measure, by the command line.
    """
    parser = harness.parser_for("Redis", PARTS)
    parser.add_argument("--server", choices=["redis", "redis8", "valkey"], default="redis")
    options = harness.options_of(parser, PARTS)
    size = QUICK if options.quick else Size()
    notes = [f"not installed, so not measured: {name}" for name in contenders.missing()]
    with started(options.server) as server:
        about = {"server": server.client.info("server")["redis_version"], "kind": options.server}
        rows = measured(server, size, options.only)
        return harness.concluded(rows, options, about=about, notes=notes)


if __name__ == "__main__":
    sys.exit(main())
