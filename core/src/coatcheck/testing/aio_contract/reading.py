"""
Reads change nothing, and a handle reads no more than it has to.
"""

from __future__ import annotations

import pytest

from ... import Capability, TaskError
from ... import Results as SyncResults
from ...aio import Results
from ...backend import DEFAULT_KEY_PREFIX
from ..promises import needs, promise
from ..proof import PATIENCE, has
from ..threads import aio_answered
from .case import AioCase


async def read_in_every_way(results: Results, task_id: str) -> None:
    """
    Read a ready record as often as there are ways to.
    """
    await results.get_task_meta(task_id)
    await results.get_many([task_id])
    await results.get_result(task_id)
    await results.wait_for(task_id, PATIENCE)
    await results.AsyncResult(task_id)
    [meta async for meta in results.as_completed([task_id], timeout=PATIENCE)]
    [meta async for meta in results.AsyncResult(task_id).updates(timeout=PATIENCE)]
    await aio_answered(lambda: results.AsyncResult(task_id).get(timeout=0))
    if has(results, Capability.SCAN):
        [meta async for meta in results.scan()]


class Reading(AioCase):
    """
    Promise 7.
    """

    @promise(7)
    async def test_reads_change_nothing(self, results: Results) -> None:
        """
        After every kind of read the store holds the same, and the next reader gets it.
        """
        await results.store_result("t", 1, expires=60)
        stored = self.raw_document("t")
        for _ in range(2):
            await read_in_every_way(results, "t")

        assert stored is not None
        assert stored == self.raw_document("t")

    @promise(7, 3)
    @needs("raw_ttl")
    async def test_reads_prolong_nothing(self, results: Results) -> None:
        """
        A record that is read lives no longer for it.
        """
        await results.store_result("t", 1, expires=60)
        before = self.raw_ttl(DEFAULT_KEY_PREFIX + "t")
        await read_in_every_way(results, "t")
        after = self.raw_ttl(DEFAULT_KEY_PREFIX + "t")

        assert before is not None
        assert after is not None
        assert after <= before

    @promise(7)
    async def test_read_only(self, other: SyncResults) -> None:
        """
        Who may only read writes and deletes nothing.
        """
        async with self.aio_results(read_only=True) as reader:
            with pytest.raises(NotImplementedError, match="read-only"):
                await reader.store_result("t", 1)
            other.store_result("t", 2)
            with pytest.raises(NotImplementedError, match="read-only"):
                await reader.forget("t")

            assert 2 == (await reader.wait_for("t", 5)).result

    @promise(7)
    async def test_handle(self, results: Results) -> None:
        """
        A handle reads until the task is ready, and remembers it then.
        """
        handle = results.AsyncResult("t")
        await results.update_state("t", "PROGRESS", 5)
        seen = await handle.state(), await handle.info(), await handle.ready()
        await results.mark_as_failure("t", ValueError("bad"))

        assert ("PROGRESS", 5, False) == seen
        assert (True, True) == (await handle.ready(), await handle.failed())
        assert not await handle.successful()
        assert await handle.date_done() is not None
        with pytest.raises(ValueError, match="bad"):
            await handle
        with pytest.raises(TaskError, match="ValueError: bad"):
            await handle.get(wrap=True)
        assert "bad" == str(await handle.get(propagate=False))
        await results.forget("t")
        assert "FAILURE" == await handle.state()
        assert not await handle.forget()
        assert "PENDING" == await handle.state()
