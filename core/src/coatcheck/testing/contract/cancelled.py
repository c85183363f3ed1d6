"""
Cancellation, wherever a task can be suspended.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from ... import Capability, TaskRevokedError
from ... import Results as SyncResults
from ...aio import Results
from ..cancelling import everywhere
from ..promises import core, promise
from ..proof import PATIENCE, has
from ..sides import patiently
from .case import AioCase


async def _first(results: Results) -> None:
    async with aclosing(results.as_completed(["there", "never"], timeout=PATIENCE)) as found:
        async for _ in found:
            return


async def _running(results: Results) -> None:
    async with results.running("run", heartbeat=0.01) as task:
        await task.progress(1)


async def _scan(results: Results) -> None:
    if has(results, Capability.SCAN):
        async for _ in results.scan():
            pass


async def _wait(results: Results, task_id: str, timeout: float | None) -> None:
    try:
        await results.wait_for(task_id, timeout)
    except TimeoutError:
        return


async def _watch(results: Results) -> None:
    async with results.backend.watch(["there"]) as bell:
        await bell.add(["more"])
        await bell.wait(0.01)
        await bell.discard(["more"])


#: The calls to cancel; "there" is a ready record, "never" stays absent.
CALLS: dict[str, Callable[[Results], Coroutine[Any, Any, Any]]] = {
    "store": lambda results: results.store_result("new", 1),
    "store_many": lambda results: results.store_many({"new": 1, "new2": 2}),
    "read": lambda results: results.get_task_meta("there"),
    "read_many": lambda results: results.get_many(["there", "never"]),
    "forget": lambda results: results.forget("never"),
    "wait": lambda results: _wait(results, "there", PATIENCE),
    "wait_in_vain": lambda results: _wait(results, "never", 0.02),
    "wait_at_once": lambda results: _wait(results, "never", 0),
    "as_completed": _first,
    "running": _running,
    "scan": _scan,
    "watch": _watch,
}


class Cancelled(AioCase):
    """Promise 9, for tasks."""

    @core
    @promise(9, 2)
    @pytest.mark.parametrize("call", CALLS)
    async def test_cancelled_everywhere(
        self, results: Results, other: SyncResults, call: str
    ) -> None:
        """Every call can be cancelled at every await, and the client works on."""
        other.store_result("there", 1)
        count = 0
        async for number, outcome in everywhere(lambda _: patiently(CALLS[call](results))):
            count = number
            assert isinstance(outcome, asyncio.CancelledError | None), outcome
            assert await patiently(results.store_result(f"after{number}", number))
            assert number == (await results.wait_for(f"after{number}", PATIENCE)).result

        assert count < 200
        gc.collect()  # objects that nobody closed warn here

    @promise(9)
    @pytest.mark.parametrize("call", CALLS)
    async def test_cancelled_at_first_use(self, other: SyncResults, call: str) -> None:
        """The same with a client that has yet to connect: it closes, or goes on."""
        other.store_result("there", 1)
        clients: list[Results] = []

        def make(_: int) -> Coroutine[Any, Any, Any]:
            clients.append(self.aio_results())
            return patiently(CALLS[call](clients[-1]))

        async for number, _ in everywhere(make):
            if number % 2:
                assert 1 == (await patiently(clients[-1].get_task_meta("there"))).result
            await patiently(clients[-1].close())
        await clients[-1].close()
        clients.clear()
        gc.collect()  # objects that nobody closed warn here

    @core
    @promise(1, 9)
    async def test_cancelled_store(self, results: Results, other: SyncResults) -> None:
        """A cancelled store happened as a whole or not at all, and at most once."""

        def store(number: int) -> Coroutine[Any, Any, Any]:
            return results.store_result(f"t{number}", number)

        async for number, _ in everywhere(store):
            # If it took place at a time, then that is the record; if not, then this is.
            won = await results.store_result(f"t{number}", "later")
            assert ("later" if won else number) == other.get_result(f"t{number}")
        gc.collect()

    @promise(2, 9)
    async def test_cancelled_waits(self, results: Results) -> None:
        """Waits that are cancelled together, early or late, do not disturb the others."""
        waits = [asyncio.create_task(results.wait_for(f"t{n}", PATIENCE)) for n in range(200)]
        for wait in waits[:50]:
            wait.cancel()
        await asyncio.sleep(0.05)
        for wait in waits[50:199]:
            wait.cancel()
        await asyncio.sleep(0.05)
        await results.store_result("t199", 1)
        ended = await asyncio.gather(*waits, return_exceptions=True)

        assert all(isinstance(error, asyncio.CancelledError) for error in ended[:199])
        assert 1 == (await waits[199]).result

    @promise(4, 9)
    async def test_running_is_broken_off(self, results: Results) -> None:
        """A cancelled block is REVOKED, and the cancellation goes on."""

        entered = asyncio.Event()

        async def block() -> None:
            async with results.running("t"):
                entered.set()
                await asyncio.sleep(PATIENCE)

        task = asyncio.create_task(block())
        await patiently(entered.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        with pytest.raises(TaskRevokedError, match="CancelledError"):
            await results.AsyncResult("t").get(timeout=PATIENCE)
