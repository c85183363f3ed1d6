"""
`submit()` and `task()`: functions in executors and coroutines as tasks; sync and asyncio.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

import coatcheck
from coatcheck import TaskRevokedError, WorkerLostError, aio
from coatcheck.testing.threads import until

PATIENCE = 30
STORE = coatcheck.by_url("memory://test-submitting")
POOL = ThreadPoolExecutor(1)


def divide(first: float, second: float) -> float:
    return first / second


@STORE.task(POOL, heartbeat=None)
def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def processes() -> ProcessPoolExecutor:
    """Return a pool that does not fork this process with its threads."""
    return ProcessPoolExecutor(1, get_context("spawn"))


@pytest.fixture
def results():
    with coatcheck.by_url("memory://test-submitting") as results:
        yield results


@pytest.fixture
async def aio_results():
    async with aio.by_url("memory://test-submitting") as results:
        yield results


def test_threads(results):
    """A value and a failure arrive; the task has its name, and is known at once and while it runs."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        first, second = results.submit(pool, gate.wait), results.submit(pool, divide, 1, second=0)
        assert ("PENDING", True) == (second.state, second.exists())
        until(lambda: first.state == "STARTED")
        assert first.meta().heartbeat
        gate.set()
        assert first.get(timeout=PATIENCE) is True
        with pytest.raises(ZeroDivisionError):
            second.get(timeout=PATIENCE)
    assert "divide" == second.meta().name


def test_processes(results):
    """The same in another process. A decorated function is found there by its name."""
    with processes() as pool:
        handles = [results.submit(pool, double, 4), results.submit(pool, divide, 1, 0)]
        assert 8 == handles[0].get(timeout=PATIENCE)
        with pytest.raises(ZeroDivisionError):
            handles[1].get(timeout=PATIENCE)
        assert "in divide" in "".join(handles[1].meta().failure.cause.message)
        with pytest.raises(WorkerLostError):
            results.submit(pool, killed).get(timeout=PATIENCE)


def test_decorated(results):
    """A decorated function can be called as before, and submitted."""
    assert 8 == double(4)
    assert 8 == double.submit(4).get(timeout=PATIENCE)
    assert ("double", "Return twice the number.") == (double.__name__, double.__doc__)


def test_cancelled(results):
    """A call that the executor gives up is REVOKED; one that it refuses leaves nothing."""
    gate = threading.Event()
    pool = ThreadPoolExecutor(1)
    first, second = results.submit(pool, gate.wait), results.submit(pool, divide, 1, 2)
    until(lambda: first.state == "STARTED")
    pool.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(TaskRevokedError):
        second.get(timeout=PATIENCE)
    gate.set()
    assert first.get(timeout=PATIENCE)

    known = {meta.task_id for meta in results.scan()}
    with pytest.raises(RuntimeError, match="shutdown"):
        results.submit(pool, divide, 1, 2)
    assert known == {meta.task_id for meta in results.scan()}


def test_values_that_cannot_be_stored(results, caplog):
    """They are failures, and logged."""
    caplog.set_level(logging.ERROR, "coatcheck")
    with ThreadPoolExecutor(1) as pool:
        handle = results.submit(pool, object)
        assert results.wait_for(handle.task_id, timeout=PATIENCE).failed

    assert handle.task_id in caplog.text


async def test_coroutines(aio_results):
    """A coroutine function runs in the loop, as a task with signs of life."""
    gate = asyncio.Event()

    @aio_results.task()
    async def wait() -> str:
        await gate.wait()
        return "over"

    handle = await wait.submit()
    async for meta in handle.updates():
        if meta.status == "STARTED":
            assert meta.heartbeat
            gate.set()
    assert "over" == await handle
    assert "over" == await wait()
    with pytest.raises(coatcheck.ArgumentError, match="executor"):
        await aio_results.submit(None, divide, 1, 2)


async def test_executors_in_asyncio(aio_results):
    """Functions run in threads and in processes; a process that is killed is told."""
    with ThreadPoolExecutor(1) as pool:
        assert 0.5 == await (await aio_results.submit(pool, divide, 1, 2))
        assert 8 == await (await aio_results.task(pool)(double).submit(4))
    with pytest.raises(RuntimeError, match="shutdown"):
        await aio_results.submit(pool, divide, 1, 2)
    with processes() as pool:
        failed, lost = await aio_results.submit(pool, divide, 1, 0), None
        with pytest.raises(ZeroDivisionError):
            await failed.get(timeout=PATIENCE)
        lost = await aio_results.submit(pool, killed)
        with pytest.raises(WorkerLostError):
            await lost.get(timeout=PATIENCE)
