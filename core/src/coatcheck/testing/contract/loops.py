"""
Event loops: several for one client, ended, forked, and with other task factories.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from functools import partial
from threading import Barrier
from typing import Any

import pytest

from ... import Results as SyncResults
from ...aio import Results
from ...errors import BackendError, WaitTimeoutError
from ..forking import on_both_sides
from ..promises import core, needs, promise
from ..proof import PATIENCE, innermost
from ..sides import until
from ..starved import without_threads
from ..threads import in_threads
from .case import AioCase


def _counting(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop, **options)


FACTORIES: list[Callable[..., Any]] = [_counting]
if sys.version_info >= (3, 12):
    FACTORIES.append(asyncio.eager_task_factory)


async def use(results: Results, side: str, rounds: int = 20) -> None:
    """Store, read and wait in several tasks, and check that each answer fits its question."""

    async def one(number: int) -> None:
        for round_ in range(rounds):
            id_ = f"{side}-{number}-{round_}"
            assert await results.store_result(id_, id_) is True
            assert await results.get_result(id_) == id_
            assert (await results.wait_for(id_, PATIENCE)).result == id_

    await asyncio.gather(*map(one, range(4)))


class Loops(AioCase):
    """Promises 1, 2, 4 and 9."""

    @promise(4)
    async def test_sides_agree(self, results: Results) -> None:
        """The synchronous backend of the same URL declares the same."""
        with self.sync_results() as other:
            ours, theirs = innermost(results.backend), innermost(other.backend)

        for name in ("capabilities", "max_value_bytes", "expires_resolution"):
            assert getattr(theirs, name) == getattr(ours, name)

    @core
    @promise(9)
    async def test_one_loop_after_the_other(self) -> None:
        """One object serves one event loop after the other."""
        results = self.aio_results()

        async def use(number: int) -> int:
            await results.store_result(f"t{number}", number)
            meta = await results.wait_for(f"t{number}", PATIENCE)
            await results.close()
            return int(meta.result)

        def use_all() -> list[int]:
            return [asyncio.run(use(number)) for number in range(3)]

        assert [0, 1, 2] == await asyncio.to_thread(use_all)

    @core
    @promise(9)
    async def test_loops_side_by_side(self) -> None:
        """One object serves several event loops at the same time."""
        results = self.aio_results()

        async def use(number: int) -> list[object]:
            waits = [results.wait_for(f"t{n}", PATIENCE) for n in range(4)]
            gathered = asyncio.gather(*waits)
            await asyncio.sleep(0.05)
            await results.store_result(f"t{number}", number)
            metas = await gathered
            await results.close()
            return [meta.result for meta in metas]

        runs = [partial(asyncio.run, use(number)) for number in range(4)]

        assert [[0, 1, 2, 3]] * 4 == await asyncio.to_thread(in_threads, runs)

    @core
    @promise(1, 9)
    async def test_race_of_loops(self, other: SyncResults) -> None:
        """
        Of 8 loops with a client each and 8 threads that share one, exactly one is first, for each
        id.
        """
        ids = [f"t{n}" for n in range(30)]
        barrier = Barrier(16)

        async def store(number: int) -> list[str]:
            async with self.aio_results() as results:
                await results.exists("t0")
                barrier.wait(PATIENCE)  # this loop has nothing else to do
                return [id_ for id_ in ids if await results.store_result(id_, number)]

        def store_sync(number: int) -> list[str]:
            barrier.wait(PATIENCE)
            return [id_ for id_ in ids if other.store_result(id_, number)]

        racers = [partial(asyncio.run, store(n)) for n in range(8)]
        others = [partial(store_sync, n) for n in range(8, 16)]
        wins = await asyncio.to_thread(in_threads, [*racers, *others])

        assert ids == sorted((id_ for won in wins for id_ in won), key=ids.index)
        said = {id_: number for number, won in enumerate(wins) for id_ in won}
        assert said == {id_: meta.result for id_, meta in other.get_many(ids).items()}

    @promise(9)
    @needs("open_resources")
    async def test_a_loop_ends(self) -> None:
        """A loop that ends releases all that it opened, although nobody closed anything."""
        results = self.aio_results()

        async def use() -> None:
            await results.store_result("t", 1)
            await results.wait_for("t", PATIENCE)
            asyncio.create_task(results.wait_for("never"))  # noqa: RUF006 - broken off by the end
            await asyncio.sleep(0.05)

        await asyncio.to_thread(asyncio.run, use())
        before = self.open_resources()
        for _ in range(8):
            await asyncio.to_thread(asyncio.run, use())

        few = before + 4  # a pool that all share may have grown
        await until(lambda: self.open_resources() <= few)
        await results.close()

    @promise(9, 2)
    @pytest.mark.parametrize("factory", FACTORIES)
    async def test_task_factory(self, results: Results, factory: Any) -> None:
        """All works under any task factory: waits, events of other tasks, heartbeats."""
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()
        loop.set_task_factory(factory)
        try:
            await results.store_result("ready", 1)
            assert (await results.wait_for("ready", PATIENCE)).result == 1
            waits = [asyncio.create_task(results.wait_for(f"t{n}", PATIENCE)) for n in range(30)]
            await asyncio.gather(*(self._store(results, n) for n in range(30)))
            assert [(await wait).result for wait in waits] == list(range(30))
            gone = asyncio.create_task(results.wait_for("never", PATIENCE))
            await asyncio.sleep(0)
            gone.cancel()
            async with results.running("r", heartbeat=0.05) as task:
                await task.progress(1, 2)
                await asyncio.sleep(0.1)
            with pytest.raises(WaitTimeoutError):
                await results.wait_for("never", 0.05)
            await results.forget("ready")
            await results.close()
            assert (await results.wait_for("r", PATIENCE)).ready
        finally:
            loop.set_task_factory(before)

    async def _store(self, results: Results, number: int) -> None:
        async with results.running(f"t{number}") as task:
            task.result = number

    @promise(9, 2)
    async def test_no_thread_for_a_while(self, results: Results) -> None:
        """
        Without new threads, calls say so or work, and nothing refused happens later; afterwards
        all works again.
        """
        refused = True
        with without_threads():
            try:
                await results.store_result("a", 1)
                refused = False
            except BackendError as error:
                assert "thread" in str(error)  # noqa: PT017 - not every store needs one
            with pytest.raises((BackendError, WaitTimeoutError)):
                await results.wait_for("never", 0.2)
        await results.store_result("b", 2)

        assert (await results.wait_for("b", PATIENCE)).result == 2
        assert await results.exists("a") is not refused

    @promise(9, 1)
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    async def test_fork_in_c(self) -> None:
        """
        After a fork without hooks, loops of parent and child work at the same time and never mix
        replies.
        """
        results = self.aio_results()

        async def after(side: str) -> None:
            await use(results, side)
            await results.close()

        def fork() -> None:
            with asyncio.Runner() as runner:  # whose connections are open meanwhile
                runner.run(use(results, "before", 2))
                on_both_sides(lambda side: asyncio.run(after(side)))
                runner.run(after("again"))

        await asyncio.to_thread(fork)
