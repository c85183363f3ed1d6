"""
Loops whose tasks begin otherwise, and a process that may start no more threads for a while.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ...aio import Results
from ...errors import BackendError, WaitTimeoutError
from ..promises import promise
from ..proof import PATIENCE
from ..starved import without_threads
from .case import AioCase


def _counting(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """
    An application's own factory.
    """
    return asyncio.Task(coroutine, loop=loop, **options)


FACTORIES: list[Callable[..., Any]] = [_counting]
if sys.version_info >= (3, 12):
    FACTORIES.append(asyncio.eager_task_factory)


class Tasks(AioCase):
    """
    Promises 2 and 9.
    """

    @promise(9, 2)
    @pytest.mark.parametrize("factory", FACTORIES)
    async def test_task_factory(self, results: Results, factory: Any) -> None:
        """
        Whatever task factory the loop has, all works: waits, events of other tasks, heartbeats.
        """
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
        Where no thread can be started, calls say so or work without, and nothing that was refused
        is done later. All works when there can be threads again.
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
