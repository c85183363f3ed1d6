"""
Commands of many asyncio tasks share few connections, and nothing else.
"""

from __future__ import annotations

import asyncio

import pytest
from support.processes import stopped
from support.redis import RedisServer

import coatcheck.aio
from coatcheck import BackendUnavailableError

MANY = 400


def connections(oracle) -> int:
    """Return how many clients the server has, but for the one that asks."""
    return len(oracle.client_list()) - 1


async def test_stores_and_fetches_side_by_side(aio_results, oracle):
    """Each gets its own answer, over few connections."""
    ids = [f"t{number}" for number in range(MANY)]
    await aio_results.store_result("t7", "first")
    won = await asyncio.gather(*(aio_results.store_result(id_, id_) for id_ in ids))
    metas = await asyncio.gather(*map(aio_results.get_task_meta, [*ids, "absent"]))

    assert [id_ != "t7" for id_ in ids] == won
    assert ["first" if id_ == "t7" else id_ for id_ in ids] == [m.result for m in metas[:-1]]
    assert not metas[-1].known
    assert connections(oracle) <= 6


async def test_race_side_by_side(aio_results):
    """Of many stores of one id at the same time one wins, and its record stays."""
    won = await asyncio.gather(*(aio_results.store_result("t", n) for n in range(MANY)))

    assert 1 == won.count(True)
    assert won.index(True) == await aio_results.get_result("t")


async def test_some_are_cancelled(aio_results):
    """A task that is cancelled takes no other along. The others get their replies."""
    ids = [f"t{number}" for number in range(MANY)]
    tasks = [asyncio.create_task(aio_results.store_result(id_, id_)) for id_ in ids]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    reads = [asyncio.create_task(aio_results.get_result(id_)) for id_ in ids[1::2]]
    found = await asyncio.gather(*reads)

    assert all(end is True for end in ends[1::2])
    assert all(isinstance(end, asyncio.CancelledError) for end in ends[::2])
    assert ids[1::2] == found


async def test_all_are_cancelled(aio_results):
    """When all are, nothing is left that runs, and the next one is served."""
    before = asyncio.all_tasks()
    tasks = [asyncio.create_task(aio_results.store_result(f"t{n}", n)) for n in range(MANY)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    assert await asyncio.wait_for(aio_results.store_result("u", 1), 10)
    assert before == asyncio.all_tasks()


async def test_large_values_go_apart(aio_results, oracle):
    """A large value holds up nobody, and arrives whole."""
    large = "x" * 100_000
    values = [large if number % 10 == 0 else number for number in range(100)]
    pairs = [(f"t{number}", value) for number, value in enumerate(values)]
    await asyncio.gather(*(aio_results.store_result(*pair) for pair in pairs))
    found = await asyncio.gather(*(aio_results.get_result(id_) for id_, _ in pairs))

    assert values == found


async def test_server_stops(tmp_path):
    """While the server says nothing each ends in its time, with an error of its own."""
    with RedisServer(tmp_path) as server:
        async with coatcheck.aio.by_url(server.url, operation_timeout=3.0) as results:
            await results.store_result("warm", 1)
            with stopped(server.process.pid):
                stores = (results.store_result(f"t{n}", n) for n in range(MANY))
                ends = await asyncio.wait_for(
                    asyncio.gather(*stores, return_exceptions=True), timeout=60
                )

            assert all(isinstance(end, BackendUnavailableError) for end in ends)
            assert MANY == len({id(end) for end in ends})
            assert all(end.__cause__ is not None for end in ends)
            assert 1 == await results.get_result("warm")


@pytest.mark.parametrize("run", range(2))
def test_loop_ends_meanwhile(server, run):
    """A loop that ends while stores are under way cancels them, without a warning."""
    results = coatcheck.aio.by_url(server.url)

    async def begin() -> None:
        for number in range(MANY):
            task = asyncio.create_task(results.store_result(f"t{number}", run))
            tasks.add(task)
        await asyncio.sleep(0)

    tasks: set[asyncio.Task[bool]] = set()
    asyncio.run(begin())

    assert all(task.done() for task in tasks)
