"""
Nothing is left behind by waits.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from collections.abc import Collection
from contextlib import aclosing, suppress
from typing import Final

import pytest

from ... import WaitTimeoutError, testing
from ...aio import Results
from ..promises import core, needs, promise
from ..proof import PATIENCE
from ..sides import in_loop, pause, together, until
from ..threads import Not
from .case import Case

#: The thread that looks for all waits of the synchronous side, by its name.
HUB: Final = "coatcheck-hub"
#: How many objects, or threads, may be there that were not: a pool may have grown.
FEW: Final = 10
#: How many do something at the same time.
MANY: Final = 30


def objects() -> Counter[str]:
    """Count our objects by type."""
    gc.collect()
    names = (f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())
    ours = (name for name in names if name.startswith("coatcheck"))
    return Counter(name for name in ours if not name.startswith(testing.__name__))


def waiting() -> list[str]:
    """Return those that serve waits: the loop's other tasks, or the hub's threads."""
    if in_loop():
        return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    return [thread.name for thread in threading.enumerate() if thread.name == HUB]


def no_more_than(before: Collection[str]) -> bool | Not:
    """Whether no more are `waiting` than *before*; a driver may have tasks of its own."""
    now = waiting()
    return len(now) <= len(before) or Not(f"there are still {now}, and before there were {before}")


def few_new_threads(before: Collection[threading.Thread]) -> bool | Not:
    """Whether hardly any thread is new; a backend may have some of its own."""
    new = [thread.name for thread in threading.enumerate() if thread not in before]
    return Not(f"{len(new)} threads more than before: {sorted(new)}") if len(new) > FEW else True


async def a_thousand_waits(results: Results) -> None:
    """Wait for present and for absent records, and break off waits."""
    stored = [f"stored{n}" for n in range(500)]
    await results.store_many(dict.fromkeys(stored, 1))
    for first in range(0, 200, MANY):
        await together(results.wait_for(id_, PATIENCE) for id_ in stored[first : first + MANY])
    for first in range(0, 100, MANY):
        await together(in_vain(results, n % 2 * 0.05) for n in range(first, first + MANY))
    with suppress(WaitTimeoutError):
        _ = [
            meta
            async for meta in results.as_completed([f"late{n}" for n in range(200)], timeout=0.05)
        ]
    ids = [*stored[200:], *(f"off{n}" for n in range(170))]
    async with aclosing(results.as_completed(ids)) as found:
        await anext(found)
    await together(broken_off(results, f"interrupted{n}") for n in range(MANY))
    if in_loop():
        await cancelled(results)


async def in_vain(results: Results, timeout: float) -> None:
    """Wait for an id that nobody stores."""
    with pytest.raises(WaitTimeoutError):
        await results.wait_for(f"never{timeout}", timeout)


async def broken_off(results: Results, task_id: str) -> None:
    """Break off a wait from within."""

    def interrupt() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await results.wait_for(task_id, None, 0.01, interrupt)


def few_new_objects(before: Counter[str]) -> bool | Not:
    """Return whether few of our objects, of each type, are new since *before*."""
    left = objects() - before
    many = {kind: count for kind, count in left.items() if count > FEW}
    return not many or Not(f"there are more than before: {many}")


async def cancelled(results: Results) -> None:
    """Cancel waits, as only tasks can be."""
    waits = [asyncio.create_task(results.wait_for(f"cancelled{n}")) for n in range(200)]
    await pause(0.05)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


class Resources(Case):
    """Promises 2 and 9: nothing outlives a wait."""

    @promise(2, 9)
    async def test_no_object_is_left(self, results: Results) -> None:
        """After a thousand waits there are as many of our objects, tasks and threads as before."""
        await results.store_result("t", 1)
        await results.get_result("t")
        before, at_work, threads = objects(), waiting(), threading.enumerate()
        await a_thousand_waits(results)
        await until(lambda: no_more_than(at_work))
        await until(lambda: few_new_threads(threads))
        # The hub lets go of waits in its next turn.
        await until(lambda: few_new_objects(before))

    @core
    @promise(2, 9)
    @needs("open_resources")
    async def test_nothing_is_left_open(self, results: Results) -> None:
        """After a thousand waits the store sees no more of our connections, but for a pool."""
        # As many at the same time as there will be, so that a pool has grown by then.
        await together(results.store_result("t", 1) for _ in range(MANY))
        before, at_work = self.open_resources(), waiting()
        await a_thousand_waits(results)
        await until(lambda: no_more_than(at_work))

        await until(lambda: self._at_most(before))

    @promise(2, 9)
    @needs("open_resources")
    async def test_subscriptions_end(self, results: Results) -> None:
        """The end of `watch` releases all that `watch` and `add` opened."""
        await results.exists("t")
        before = self.open_resources()
        for n in range(20):
            async with results.backend.watch([f"t{n}"]) as bell:
                await bell.add([f"u{n}", f"v{n}"])
        with pytest.raises(ZeroDivisionError):
            async with results.backend.watch(["t"]) as bell:
                raise ZeroDivisionError

        await until(lambda: self._at_most(before))

    @core
    @promise(9)
    @needs("open_resources")
    async def test_close_gives_up_all(self) -> None:
        """A closed client holds nothing of the store, even while its user keeps it."""
        before = self.open_resources()
        results = self.new_results()
        await results.store_result("t", 1)
        await results.wait_for("t", PATIENCE)
        with suppress(WaitTimeoutError):
            await results.wait_for("never", 0.05)
        await results.close()

        await until(lambda: self._at_most(before))
        assert await results.exists("t")
        await results.close()

    @promise(9)
    @needs("open_resources")
    @pytest.mark.filterwarnings("ignore::ResourceWarning")  # nobody has closed them
    async def test_what_is_dropped_ends(self) -> None:
        """Clients that are dropped without being closed leave nothing open."""
        before = self.open_resources()
        for n in range(10):
            results = self.new_results()
            await results.store_result(f"t{n}", n)
            assert n == await results.get_result(f"t{n}")
        del results

        def collected() -> bool | Not:
            gc.collect()  # again and again: threads may be letting go of them only now
            return self._at_most(before)

        await until(collected)

    def _at_most(self, count: int) -> bool | Not:
        now = self.open_resources()
        return now <= count or Not(f"the store sees {now} open, and had {count} before")
