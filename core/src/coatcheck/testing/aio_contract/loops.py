"""
One client used by many tasks and by several event loops.
"""

from __future__ import annotations

import asyncio
from functools import partial

from ... import Capability
from ...aio import Results
from ..child import children
from ..promises import promise
from ..proof import PATIENCE, has
from ..threads import in_threads
from .case import AioCase, patiently


class Loops(AioCase):
    """
    Promise 9.
    """

    @promise(9, 2)
    async def test_tasks(self, results: Results) -> None:
        """
        Tasks store, read, wait and forget with one object, and none sees another's replies.
        """

        async def work(number: int) -> list[object]:
            got: list[object] = []
            for round_ in range(10):
                id_ = f"t{number}-{round_}"
                wait = asyncio.create_task(results.wait_for(id_, PATIENCE))
                await results.store_result(id_, [number, round_])
                got += [(await wait).result, await results.get_result(id_)]
                await results.forget(id_)
            return got

        answers = await patiently(asyncio.gather(*map(work, range(16))))

        expected = [[[n, round_] for round_ in range(10) for _ in range(2)] for n in range(16)]
        assert expected == answers

    @promise(9)
    async def test_one_loop_after_the_other(self) -> None:
        """
        One object serves one event loop after the other.
        """
        results = self.aio_results()

        async def use(number: int) -> int:
            await results.store_result(f"t{number}", number)
            meta = await results.wait_for(f"t{number}", 10)
            await results.close()
            return int(meta.result)

        def use_all() -> list[int]:
            return [asyncio.run(use(number)) for number in range(3)]

        assert [0, 1, 2] == await asyncio.to_thread(use_all)

    @promise(9)
    async def test_loops_side_by_side(self) -> None:
        """
        One object serves several event loops at the same time.
        """
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

    @promise(9)
    async def test_other_processes(self, results: Results) -> None:
        """
        Where other processes are said to see the records, they do, both ways.
        """
        if not has(results, Capability.SHARED):
            return
        await results.store_result("ours", "from here")
        jobs = [("read", (self.store_url, "ours")), ("store", (self.store_url, "theirs", 2))]
        with children(jobs) as started:
            for child in started:
                child.go()
            answers = [child.answer() for child in started]

        assert ["from here", True] == answers
        assert 2 == await results.get_result("theirs")
