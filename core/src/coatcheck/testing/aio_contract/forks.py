"""
Forks that run no hook of Python's.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from ...aio import Results
from ..forking import on_both_sides
from ..promises import promise
from ..proof import PATIENCE
from .case import AioCase


async def use(results: Results, side: str, rounds: int = 20) -> None:
    """
    Store, read and wait in several tasks, and see that the answers are to the questions.
    """

    async def one(number: int) -> None:
        for round_ in range(rounds):
            id_ = f"{side}-{number}-{round_}"
            assert await results.store_result(id_, id_) is True
            assert await results.get_result(id_) == id_
            assert (await results.wait_for(id_, PATIENCE)).result == id_

    await asyncio.gather(*map(one, range(4)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
class Forks(AioCase):
    """
    Promise 9.
    """

    @promise(9, 1)
    async def test_fork_in_c(self) -> None:
        """
        After a fork that ran no hook, parent and child have loops at the same time, and neither
        reads what the other asked for.
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
