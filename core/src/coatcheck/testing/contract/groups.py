"""
Groups of tasks that are saved and restored, and hooks that observe.
"""

from __future__ import annotations

import math
import time

import pytest

from ... import Capability, UnsupportedError, WaitTimeoutError
from ... import Results as SyncResults
from ...aio import Results
from ..promises import core, expiring, promise
from ..proof import PATIENCE, has, has_keys
from ..sides import pause, start, until
from ..watcher import EXPECTED, Watcher
from .case import Case
from .expiry import LIVES


class Groups(Case):
    """Promises 2, 4 and 7, for sets of tasks; and the calls of plugins."""

    @promise(2)
    async def test_result_set(self, results: Results, other: SyncResults) -> None:
        """The values of a set arrive in its order, in any order of storing."""
        ids = [f"t{n}" for n in range(100)]
        tasks = results.ResultSet(ids)
        waiting = start(tasks.get(PATIENCE))
        await pause(0.01)
        other.store_many({id_: id_ for id_ in reversed(ids)})

        assert ids == await waiting
        assert (True, True) == (await tasks.ready(), await tasks.successful())
        assert 100 == await tasks.completed_count()

    @promise(3)
    async def test_result_set_times_out(self, results: Results) -> None:
        """A set that is incomplete at the deadline names the missing tasks."""
        await results.store_result("a", 1)
        with pytest.raises(WaitTimeoutError) as caught:
            await results.ResultSet(["a", "b"]).get(timeout=0.1)

        assert {"b"} == caught.value.task_ids

    @promise(4)
    async def test_groups_are_listed(self, results: Results, other: SyncResults) -> None:
        """A store of keys that lists its records lists its groups; others may refuse, and say so."""
        try:
            assert [] == [id_ async for id_ in results.backend.scan_groups()]
        except UnsupportedError:
            assert not has(results, Capability.SCAN) or not has_keys(results)
            return
        other.save_group("g", ["a"], expires=3600)
        await results.save_group("h/🎉", ["g"], expires=None)
        await results.store_result("t", 1)
        lives = await results.backend.lives(["g", "h/🎉"], groups=True)

        assert ["g", "h/🎉"] == sorted([id_ async for id_ in results.backend.scan_groups()])
        assert lives["g"] is None or 3000 < lives["g"] < 4000
        assert lives["h/🎉"] in (None, math.inf)

    @core
    @promise(4)
    @pytest.mark.parametrize("group_id", ["group", "of emoji 🎉", "x" * 500, "a/b"])
    async def test_group(self, results: Results, other: SyncResults, group_id: str) -> None:
        """
        A set is saved under an id of any shape, restored by another client, and deleted alone.
        """
        ids = ["b", "a", "line\nbreak"]
        await results.ResultSet(ids).save(group_id)
        await results.store_result("a", 1)
        restored = await results.restore_group(group_id)

        assert ids == restored.task_ids
        assert ids == other.restore_group(group_id).task_ids
        assert not await results.exists(group_id)
        if has(results, Capability.SCAN):
            assert ["a"] == [meta.task_id async for meta in results.scan()]
        assert await restored.delete()
        assert not await restored.delete()
        assert await results.exists("a")
        with pytest.raises(LookupError):
            await results.restore_group(group_id)

    @expiring
    @promise(3)
    async def test_group_expires(self, results: Results) -> None:
        """A saved set lives for its time, and the last save wins."""
        for life in LIVES:
            await results.ResultSet(["a"]).save("g", expires=60)
            began = time.monotonic()
            await results.ResultSet(["a", "b"]).save("g", expires=life)
            try:
                restored = (await results.restore_group("g")).task_ids
                break
            except LookupError:
                assert time.monotonic() - began >= life
        assert ["a", "b"] == restored

        async def gone() -> bool:
            return await results.backend.get_group("g") is None

        assert await until(gone)

    @promise(2)
    async def test_hooks(self) -> None:
        """Plugins hear of every store, read, wait, failure and forgotten record, in order."""
        watcher = Watcher()
        async with self.new_results(plugins=[watcher]) as results:
            await results.store_result("t", 1)
            await results.store_result("t", 2)
            await results.store_many({"a": 1, "t": 3})
            await results.get_many("atx")
            await results.wait_for("t", PATIENCE)
            with pytest.raises(WaitTimeoutError):
                await results.wait_for("x", 0)
            await results.forget("t")

        assert EXPECTED == watcher.told
