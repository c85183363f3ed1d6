"""
No deadline outlives an operation that a signal handler breaks off.
"""

from __future__ import annotations

import asyncio

import coatcheck
import coatcheck.aio
from coatcheck.testing.interrupts import strikes
from coatcheck.testing.losses import lossy
from coatcheck_sql import asyncio_link, deadline, link
from coatcheck_sql.deadline import DEADLINE

NONE = float("inf")


@lossy
def test_no_deadline_is_left(sqlite):
    """
    Wherever the handler comes.
    """
    with coatcheck.by_url(sqlite.url) as results:
        results.store_result("one", 1)
        results.get_result("one")
        for place in strikes(
            lambda: results.get_result("one"), roots=(link.__file__, deadline.__file__)
        ):
            assert DEADLINE.get() == NONE, place


@lossy
def test_no_deadline_is_left_in_a_task(postgresql):
    """
    The same for the side for asyncio, where the task goes on.
    """
    results = coatcheck.aio.by_url(postgresql.url)
    left = []

    async def read():
        try:
            await results.get_result("one")
        finally:
            left.append(DEADLINE.get())

    with asyncio.Runner() as runner:
        runner.run(results.store_result("one", 1))
        for place in strikes(
            lambda: runner.run(read()), roots=(asyncio_link.__file__, deadline.__file__)
        ):
            assert [NONE] == left, place
            left.clear()
        runner.run(results.close())
