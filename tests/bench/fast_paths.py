"""
What the fast paths of core, Memcached and MongoDB save: each operation with and without, in turns, in
one run.

Prints, for each fast path, the quickest time of each way for one operation and the median of the ratios.
For waits, which need no server, that is CPU time; the memory that each takes is printed, too.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import orjson
from support.memcached import MemcachedServer
from support.mongo import ReplicaSet

import coatcheck
import coatcheck.aio
from coatcheck._coding.jsontags import to_plain
from coatcheck._coding.jsontext import FastText, StandardText
from coatcheck._coding.serializers import JSONSerializer
from coatcheck._record.documents import new_document
from coatcheck._results import asyncio_results
from coatcheck._results.asyncio_results import TaskWaiter
from coatcheck._runtime.clocks import monotonic
from coatcheck._waiting import asyncio_hub

WAITS = 5000
OPERATIONS = 200
TURNS = 11


class TimersOfTheLoop:
    """
    A timer of the loop for each wait, in place of `Alarms`.
    """

    def __init__(self) -> None:
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def set(self, at: float, sleeper: Any) -> int:
        """
        See `Alarms.set`.
        """
        loop = asyncio.get_running_loop()
        self._timers[id(sleeper)] = loop.call_later(at - monotonic(), sleeper.notify)
        return id(sleeper)

    def unset(self, place: int, sleeper: Any) -> None:
        """
        See `Alarms.unset`.
        """
        del sleeper
        self._timers.pop(place).cancel()

    def ring_overdue(self, now: float) -> None:
        """
        See `Alarms.ring_overdue`.
        """
        del now


async def wait_by_generator(
    self: Any, task_id: str, timeout: float, *_: object, must_exist: bool
) -> Any:
    """
    Wait as `as_completed` does, in place of `Results._wait`.
    """
    waiter = TaskWaiter([task_id], timeout, must_exist=must_exist, hint=self._hint)
    async with aclosing(self._results(waiter)) as metas:
        return await anext(metas)


@contextmanager
def replaced(owner: object, name: str, other: object) -> Iterator[None]:
    """
    Have *other* in place of an attribute.
    """
    own = getattr(owner, name)
    setattr(owner, name, other)
    try:
        yield
    finally:
        setattr(owner, name, own)


@asynccontextmanager
async def waiting(ids: list[str]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """
    Have a task wait for each of *ids*.
    """
    async with coatcheck.aio.by_url("memory://") as results:
        yield [asyncio.create_task(results.AsyncResult(id_).get(timeout=600)) for id_ in ids]


async def wait_for_many(*, memory: bool) -> float:
    """
    Return the CPU time that a wait takes from its start to its end; with *memory* its bytes instead.
    """
    ids = [uuid.uuid4().hex for _ in range(WAITS)]
    gc.collect()
    if memory:
        tracemalloc.start()
    began = time.process_time()
    async with waiting(ids) as tasks:
        await asyncio.sleep(0.0)  # each begins to wait
        used = time.process_time() - began
        if memory:
            size, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        await asyncio.sleep(0.5)
        with coatcheck.by_url("memory://") as storing:
            storing.store_many(dict.fromkeys(ids, 1))
        began = time.process_time()
        await asyncio.gather(*tasks)
    return size / WAITS if memory else (used + time.process_time() - began) / WAITS


async def measure_waits(name: str, owner: object, attribute: str, other: object) -> None:
    """
    Print the row of a fast path of waits.
    """

    async def fast(*, memory: bool = False) -> float:
        return await wait_for_many(memory=memory)

    async def slow(*, memory: bool = False) -> float:
        with replaced(owner, attribute, other):
            return await wait_for_many(memory=memory)

    await measure(name, fast, slow)
    sizes = [round(await way(memory=True)) for way in (fast, slow)]
    print(f"{'':28} with {sizes[0]:8} bytes  without {sizes[1]:8} bytes")


async def measure(name: str, *ways: Callable[[], Awaitable[float]]) -> None:
    """
    Print a row: the times of both *ways*, which return the seconds that an operation takes.
    """
    times: list[list[float]] = [[], []]
    for turn in range(TURNS):
        for way in (turn % 2, 1 - turn % 2):
            times[way].append(await ways[way]())
    ratio = statistics.median(slow / fast for fast, slow in zip(*times, strict=True))
    fast, slow = (min(each) * 1e6 for each in times)
    print(
        f"{name:28} with {fast:8.1f} us     without {slow:8.1f} us  ratio {ratio:.2f}", flush=True
    )


async def measure_operation(
    name: str, operate: Callable[[coatcheck.Results], None], *both: coatcheck.Results
) -> None:
    """
    Print the row of a fast path of a store, which the second of *both* does without.
    """

    def way(results: coatcheck.Results) -> Callable[[], Awaitable[float]]:
        async def timed() -> float:
            began = time.perf_counter()
            for _ in range(OPERATIONS):
                operate(results)
            return (time.perf_counter() - began) / OPERATIONS

        return timed

    await measure(name, *map(way, both))


def start_and_end(results: coatcheck.Results) -> None:
    """
    Store the two records of a task.
    """
    id_ = uuid.uuid4().hex
    results.mark_as_started(id_)
    results.store_result(id_, {"number": 1, "text": "text"})


class Nothing:
    """
    Remembers nothing, in place of `Recent`.
    """

    def get(self, name: str) -> None:
        """
        See `Recent.get`.
        """

    def put(self, name: str, mark: object) -> None:
        """
        See `Recent.put`.
        """


class Silent:
    """
    Knows no server's time, in place of `ServerClock`.
    """

    def surely_lives(self, expires_at: object) -> bool:
        """
        See `ServerClock.surely_lives`.
        """
        del expires_at
        return False

    def end_of(self, seconds: float) -> None:
        """
        See `ServerClock.end_of`.
        """


async def measure_json() -> None:
    """
    Print the row of the look at all of a value before its JSON is written.
    """
    rows = [{"id": n, "name": f"row {n}", "tags": ["a", "b"], "score": n / 7} for n in range(150)]

    def way(*, look: bool) -> Callable[[], Awaitable[float]]:
        async def timed() -> float:
            began = time.process_time()
            for _ in range(OPERATIONS):
                json.dumps(to_plain(rows, strict=False, look=look))
            return (time.process_time() - began) / OPERATIONS

        return timed

    await measure("json: 150 rows", way(look=True), way(look=False))


async def measure_orjson() -> None:
    """
    Print rows of a record written and read by orjson, and by the standard library.
    """
    rows = [{"id": n, "name": f"row {n}", "tags": ["a", "b"], "score": n / 7} for n in range(150)]
    values = {"small": {"number": 1, "text": "text"}, "150 rows": rows, "1 MB": "x" * 2**20}
    engines = FastText(orjson), StandardText()

    def way(act: Callable[[JSONSerializer], object], text: StandardText, count: int) -> Any:
        serializer = JSONSerializer()
        vars(serializer)["_text"] = text

        async def timed() -> float:
            began = time.process_time()
            for _ in range(count):
                act(serializer)
            return (time.process_time() - began) / count

        return timed

    for name, value in values.items():
        document = new_document("task", "SUCCESS", value)
        count = 20 if name == "1 MB" else OPERATIONS
        data = JSONSerializer().dumps(document, strict=False)
        for verb, act in (
            ("write", lambda serializer, d=document: serializer.dumps(d, strict=False)),
            ("read", lambda serializer, d=data: serializer.loads(d)),
        ):
            await measure(
                f"orjson: {verb} {name}", *(way(act, engine, count) for engine in engines)
            )


async def main() -> None:
    """
    Measure everything, or JSON alone if it is named.
    """
    await measure_json()
    await measure_orjson()
    if sys.argv[1:] == ["json"]:
        return
    await measure_waits("shared timers", asyncio_hub, "Alarms", TimersOfTheLoop)
    await measure_waits(
        "waits without generators", asyncio_results.Results, "_wait", wait_by_generator
    )
    with MemcachedServer() as server:
        with coatcheck.by_url(server.url) as fast, coatcheck.by_url(server.url) as slow:
            slow.backend.backend._written = Nothing()
            await measure_operation("memcached: start and end", start_and_end, fast, slow)
    with (
        tempfile.TemporaryDirectory() as directory,
        ReplicaSet(Path(directory)) as servers,
        coatcheck.by_url(servers.url) as fast,
        coatcheck.by_url(servers.url) as slow,
    ):
        for results in (fast, slow):
            results.store_result("task", {"number": 1, "text": "text"})
        await asyncio.sleep(1.0)  # until the server says what time it is
        slow.backend._link.clock = Silent()
        await measure_operation("mongo: fetch", lambda r: r.get_result("task"), fast, slow)
        await measure_operation("mongo: start and end", start_and_end, fast, slow)


if __name__ == "__main__":
    asyncio.run(main())
