"""
Sizes that only the server knows, and scripts that it forgets in the middle of a batch.
"""

from __future__ import annotations

import threading

import pytest
from support.redis import RedisServer

import coatcheck
import coatcheck.aio
from coatcheck.errors import ResultTooLargeError

LIMIT = 1_048_576
SIZES = pytest.mark.parametrize("size", [LIMIT, 4 * LIMIT], ids=["just over", "far over"])


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    options = ("--proto-max-bulk-len", "1mb", "--rename-command", "CONFIG", "")
    with RedisServer(tmp_path_factory.mktemp("silent"), options=options) as server:
        yield server


@SIZES
def test_a_value_over_the_servers_limit(small, size):
    """
    The caller hears of the limit, a small failure is stored, and the limit is remembered.
    """
    with coatcheck.by_url(small.url) as results:
        with pytest.raises(ResultTooLargeError) as info:
            results.store_result(f"t{size}", "x" * size)

        assert LIMIT == info.value.limit == results.backend.backend.max_value_bytes
        failure = results.wait_for(f"t{size}", 5).failure
        assert "ResultTooLargeError" == failure.qualname
        with pytest.raises(ResultTooLargeError):
            results.store_many({f"many{size}": "x" * size, f"other{size}": 1})
        assert 1 == results.get_result(f"other{size}")
        assert results.get_task_meta(f"many{size}").failed


@SIZES
async def test_aio_a_value_over_the_servers_limit(small, size):
    """
    The same for asyncio.
    """
    async with coatcheck.aio.by_url(small.url) as results:
        with pytest.raises(ResultTooLargeError) as info:
            await results.store_many({f"aio{size}": "x" * size, f"aio-other{size}": 1})

        assert LIMIT == info.value.limit
        assert (await results.get_task_meta(f"aio{size}")).failed
        assert 1 == await results.get_result(f"aio-other{size}")


def test_a_limit_that_the_server_does_not_tell(silent):
    """
    If the server does not tell its limit, its refusal is enough.
    """
    with coatcheck.by_url(silent.url) as results:
        with pytest.raises(ResultTooLargeError):
            results.store_result("t", "x" * LIMIT)
        assert results.get_task_meta("t").failed


def flushing(server, over):
    while not over.is_set():
        server.ask("SCRIPT", "FLUSH")


def test_scripts_that_are_flushed_during_batches(small):
    """
    A batch is stored although another client flushes the scripts all the time.
    """
    over = threading.Event()
    thread = threading.Thread(target=flushing, args=(small, over))
    thread.start()
    try:
        with coatcheck.by_url(small.url) as results:
            for turn in range(10):
                won = results.store_many({f"flush{turn}-{n}": n for n in range(300)})
                assert all(won.values())
    finally:
        over.set()
        thread.join()


async def test_aio_scripts_that_are_flushed_during_batches(small):
    """
    The same for asyncio.
    """
    over = threading.Event()
    thread = threading.Thread(target=flushing, args=(small, over))
    thread.start()
    try:
        async with coatcheck.aio.by_url(small.url) as results:
            for turn in range(10):
                won = await results.store_many({f"aio-flush{turn}-{n}": n for n in range(300)})
                assert all(won.values())
    finally:
        over.set()
        thread.join()
