"""
What is left after waits: nothing.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from ... import WaitTimeoutError
from ...aio import Results
from ..contract.resources import few_new_threads, objects
from ..promises import needs, promise
from ..threads import Not, aio_until, until
from .case import AioCase


def tasks() -> int:
    """
    Count the tasks of the running loop that are not this one.
    """
    return len(asyncio.all_tasks()) - 1


async def a_thousand_waits(results: Results) -> None:
    """
    Wait: for what is there, for what never comes, and for what is cancelled.
    """
    stored = [f"stored{n}" for n in range(500)]
    await results.store_many(dict.fromkeys(stored, 1))
    await asyncio.gather(*(results.wait_for(id_, 5) for id_ in stored[:200]))
    late = [asyncio.create_task(results.wait_for(f"late{n}", n % 2 * 0.05)) for n in range(200)]
    off = [asyncio.create_task(results.wait_for(f"off{n}")) for n in range(200)]
    await asyncio.gather(*late, return_exceptions=True)
    for wait in off:
        wait.cancel()
    await asyncio.gather(*off, return_exceptions=True)
    with suppress(WaitTimeoutError):
        async for _ in results.as_completed([*stored[200:], "never"], timeout=0.05):
            pass


class Resources(AioCase):
    """
    Promises 2 and 9: nothing outlives a wait.
    """

    @promise(2, 9)
    async def test_no_object_is_left(self, results: Results) -> None:
        """
        After a thousand waits there are as many of our objects and tasks as before.
        """
        await results.store_result("t", 1)
        await results.get_result("t")
        before, tasks_before, threads = objects(), tasks(), threading.enumerate()
        await a_thousand_waits(results)
        await aio_until(no_more_tasks_than(tasks_before))
        until(lambda: few_new_threads(threads))

        left = objects() - before
        # A few connections may have been added to a pool.
        assert {} == {kind: count for kind, count in left.items() if count > 10}

    @promise(2, 9)
    @needs("open_resources")
    async def test_nothing_is_left_open(self, results: Results) -> None:
        """
        After a thousand waits the store sees no more of us than before, but for a pool.
        """
        # As many at the same time as there will be, so that a pool has grown by then.
        await asyncio.gather(*(results.store_result("t", 1) for _ in range(30)))
        before, tasks_before = self.open_resources(), tasks()
        await a_thousand_waits(results)
        await aio_until(no_more_tasks_than(tasks_before))

        await self._until_at_most(before)

    @promise(2, 9)
    @needs("open_resources")
    async def test_subscriptions_end(self, results: Results) -> None:
        """
        What `watch` opens is given up at its end, and what `add` opens as well.
        """
        await results.exists("t")
        before = self.open_resources()
        for n in range(20):
            async with results.backend.watch([f"t{n}"]) as bell:
                await bell.add([f"u{n}", f"v{n}"])
        with pytest.raises(ZeroDivisionError):
            async with results.backend.watch(["t"]) as bell:
                raise ZeroDivisionError

        await self._until_at_most(before)

    @promise(9)
    @needs("open_resources")
    async def test_close_gives_up_all(self) -> None:
        """
        A closed client holds nothing of the store, though its user goes on holding it.
        """
        before = self.open_resources()
        results = self.aio_results()
        await results.store_result("t", 1)
        await results.wait_for("t", 5)
        with suppress(WaitTimeoutError):
            await results.wait_for("never", 0.05)
        await results.close()

        await self._until_at_most(before)
        assert await results.exists("t")
        await results.close()

    @promise(9)
    @needs("open_resources")
    async def test_a_loop_ends(self) -> None:
        """
        A loop that `asyncio.run` ends takes with it what it opened, though nobody closed anything;
        but for what all loops share.
        """
        results = self.aio_results()

        async def use() -> None:
            await results.store_result("t", 1)
            await results.wait_for("t", 5)
            asyncio.create_task(results.wait_for("never"))  # noqa: RUF006 - broken off by the end
            await asyncio.sleep(0.05)

        await asyncio.to_thread(asyncio.run, use())
        before = self.open_resources()
        for _ in range(8):
            await asyncio.to_thread(asyncio.run, use())

        await self._until_at_most(before + 4)  # a pool that all share may have grown
        await results.close()

    @promise(9)
    @needs("open_resources")
    @pytest.mark.filterwarnings("ignore::ResourceWarning")  # nobody has closed them
    async def test_what_is_dropped_ends(self) -> None:
        """
        Clients that are dropped without being closed leave nothing open.
        """
        before = self.open_resources()
        for n in range(10):
            results = self.aio_results()
            await results.store_result(f"t{n}", n)
            assert n == await results.get_result(f"t{n}")
        del results

        async def collected() -> bool:
            gc.collect()  # again and again: threads may be letting go of them only now
            return self.open_resources() <= before

        assert await aio_until(collected)

    async def _until_at_most(self, count: int) -> None:
        async def few() -> bool | Not:
            now = self.open_resources()
            return now <= count or Not(f"the store sees {now} open, and had {count} before")

        await aio_until(few)


def no_more_tasks_than(before: int) -> Callable[[], Awaitable[bool]]:
    """
    Return whether the loop has no more tasks than *before*: a driver may have some of its own.
    """

    async def settled() -> bool:
        return tasks() <= before

    return settled
