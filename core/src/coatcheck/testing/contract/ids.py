"""
Ids of any shape.
"""

from __future__ import annotations

import pytest

from ... import Capability, ConfigurationError
from ...aio import Results
from ..promises import core, promise
from ..proof import PATIENCE, has, has_keys
from ..samples import IDS
from .case import Case


class Ids(Case):
    """Promise 4, for ids."""

    @promise(4)
    @pytest.mark.parametrize("task_id", IDS)
    async def test_id(self, results: Results, task_id: str) -> None:
        """An id of any shape can be stored, read, awaited, scanned and forgotten."""
        assert await results.store_result(task_id, task_id)

        assert task_id == (await results.wait_for(task_id, PATIENCE)).result
        assert [task_id] == list(await results.get_many([task_id]))
        assert not await results.store_result(task_id, "late")
        assert [False] * 2 == [await results.exists(i) for i in (task_id + "x", task_id[1:] or "y")]
        if has(results, Capability.SCAN):
            assert [task_id] == [meta.task_id async for meta in results.scan()]
        assert await results.forget(task_id)
        assert not await results.exists(task_id)

    @core
    @promise(4)
    async def test_ids_do_not_touch(self, results: Results) -> None:
        """Similar ids stay apart."""
        won = await results.store_many({id_: id_ for id_ in IDS})
        metas = await results.get_many(IDS)

        assert dict.fromkeys(IDS, True) == won
        assert {id_: id_ for id_ in IDS} == {id_: meta.result for id_, meta in metas.items()}
        assert await results.forget("case")
        assert await results.exists("CaSe")

    @promise(4)
    @pytest.mark.parametrize("task_id", ["", None, 5, b"bytes", "\ud800"])
    async def test_no_id(self, results: Results, task_id: str) -> None:
        """A value that cannot be an id is refused before it reaches the store."""
        with pytest.raises(ValueError, match="task id"):
            await results.store_result(task_id, 1)
        with pytest.raises(ValueError, match="task id"):
            await results.get_task_meta(task_id)

    @promise(4)
    @pytest.mark.parametrize("prefix", ["app:", "", "a b/☃*", "%s{x}"])
    async def test_key_prefix(self, results: Results, prefix: str) -> None:
        """Each prefix has its own records; a store without keys refuses prefixes."""
        if not has_keys(results):
            with pytest.raises(ConfigurationError, match="key_prefix"):
                self.new_results(key_prefix="app:")
            return
        async with self.new_results(key_prefix=prefix) as prefixed:
            assert await prefixed.store_result("t", "prefixed")
            assert await results.store_result("t", "default")

            assert "prefixed" == (await prefixed.wait_for("t", PATIENCE)).result
            assert "default" == await results.get_result("t")
            assert await prefixed.forget("t")
        assert await results.exists("t")
