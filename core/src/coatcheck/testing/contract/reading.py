"""
Reads change nothing, and a handle reads no more than necessary.
"""

from __future__ import annotations

import threading

import pytest

from ... import Capability, TaskError
from ... import Results as SyncResults
from ...aio import Results
from ..promises import needs, promise
from ..proof import PATIENCE, has
from ..sides import answered, pause, start, until
from .case import Case


async def read_in_every_way(results: Results, task_id: str) -> None:
    """Read a ready record by every method."""
    await results.get_task_meta(task_id)
    await results.get_many([task_id])
    await results.get_result(task_id)
    await results.wait_for(task_id, PATIENCE)
    await results.AsyncResult(task_id)
    [meta async for meta in results.as_completed([task_id], timeout=PATIENCE)]
    [meta async for meta in results.AsyncResult(task_id).updates(timeout=PATIENCE)]
    await answered(lambda: results.AsyncResult(task_id).get(timeout=0))
    if has(results, Capability.SCAN):
        [meta async for meta in results.scan()]


async def absent(results: Results, task_id: str) -> bool:
    """Whether there is no record."""
    return not await results.exists(task_id)


class Reading(Case):
    """Promise 7."""

    @promise(7)
    async def test_reads_change_nothing(self, results: Results) -> None:
        """After every kind of read the store holds the same, and the next reader gets it."""
        await results.store_result("t", 1, expires=60)
        stored = self.raw_document("t")
        await read_in_every_way(results, "t")
        async with self.new_results() as second:
            await read_in_every_way(second, "t")

        assert stored is not None
        assert stored == self.raw_document("t")

    @promise(7, 3)
    @needs("raw_ttl")
    async def test_reads_prolong_nothing(self, results: Results) -> None:
        """Reading a record does not prolong its life."""
        await results.store_result("t", 1, expires=60)
        before = self.raw_ttl(self.key_prefix + "t")
        await read_in_every_way(results, "t")
        after = self.raw_ttl(self.key_prefix + "t")

        assert before is not None
        assert after is not None
        assert after <= before

    @promise(7)
    async def test_reads_leave_what_expired(self, results: Results) -> None:
        """
        Reads delete no expired records; the store may do so itself, whether they are read or not.
        """
        ids = [f"t{n}" for n in range(20)]
        await results.store_many(dict.fromkeys(ids, 1), expires=0.5)
        await results.store_result("last", 1, expires=0.5)
        await until(lambda: absent(results, "last"))
        await pause(0.05)
        before = {id_ for id_ in ids if self.raw_document(id_) is not None}
        await results.get_many(ids[::2])
        for id_ in ids[::2]:
            await results.get_task_meta(id_)
        gone = [id_ for id_ in ids if id_ in before and self.raw_document(id_) is None]

        if has(results, Capability.TTL) and not set(gone) <= set(ids[::2]):
            return  # the store cleared away some of each kind, by itself
        assert [] == gone, "these had expired, and reading them deleted them"

    @promise(1, 7)
    async def test_readers_beside_writers(self, results: Results, other: SyncResults) -> None:
        """A record acknowledged in place of an expired one stays, even while others read."""
        ids = [f"t{n}" for n in range(200)]
        await results.store_many(dict.fromkeys(ids, "old"), expires=0.2)
        await results.store_result("last", 1, expires=0.2)
        await until(lambda: absent(results, "last"))

        done = threading.Event()

        async def read(client: Results) -> None:
            while not done.is_set():
                for first in range(0, len(ids), 20):
                    await client.get_many(ids[first : first + 20])
                    await pause(0.0005)  # lets the writer run

        async with self.new_results() as second:
            readers = [start(read(client)) for client in (results, second) * 2]
            acknowledged = [id_ for id_ in ids if await results.store_result(id_, "new")]
            done.set()
            for reader in readers:
                await reader
        metas = other.get_many(acknowledged)
        lost = [id_ for id_, meta in metas.items() if meta.result != "new"]

        assert ids == acknowledged
        assert [] == lost, f"{len(lost)} of {len(ids)} acknowledged records are gone"

    @promise(7)
    async def test_read_only(self, other: SyncResults) -> None:
        """A read-only client writes and deletes nothing."""
        async with self.new_results(read_only=True) as reader:
            with pytest.raises(NotImplementedError, match="read-only"):
                await reader.store_result("t", 1)
            other.store_result("t", 2)
            with pytest.raises(NotImplementedError, match="read-only"):
                await reader.forget("t")

            assert 2 == (await reader.wait_for("t", PATIENCE)).result

    @promise(7)
    async def test_handle(self, results: Results) -> None:
        """A handle reads until the task is ready, and remembers it then."""
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
