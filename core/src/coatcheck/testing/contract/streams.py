"""
Waiting for many tasks, and for every change of one.
"""

from __future__ import annotations

from typing import Any

import pytest

from ... import Results as SyncResults
from ... import WaitTimeoutError
from ...aio import Results
from ..promises import core, promise
from ..proof import PATIENCE
from ..sides import answered, apart, start
from .case import Case


class Streams(Case):
    """Promises 2 and 3, for several records."""

    @core
    @promise(2)
    async def test_as_completed(self, results: Results, other: SyncResults) -> None:
        """A thousand tasks arrive as they are stored, each once."""
        ids = [f"t{n}" for n in range(1000)]
        other.store_many({id_: id_ for id_ in ids[:500]})

        def store() -> None:
            for id_ in ids[500:]:
                other.store_result(id_, id_)

        storing = start(apart(store))
        got = [meta.result async for meta in results.as_completed(ids, timeout=PATIENCE)]
        await storing

        assert sorted(ids) == sorted(got)

    @promise(3)
    async def test_as_completed_times_out(self, results: Results) -> None:
        """Present records arrive first; then the error names the rest."""
        await results.store_many({"a": 1, "b": 2})
        got: list[str] = []

        with pytest.raises(WaitTimeoutError) as caught:
            async for meta in results.as_completed("abcd", timeout=0.2):
                got.append(meta.task_id)  # noqa: PERF401 - it raises in the end
        assert ["a", "b"] == sorted(got)
        assert {"c", "d"} == caught.value.task_ids

    @promise(3)
    async def test_as_completed_at_once(self, results: Results) -> None:
        """A timeout of 0 looks once at every task, or says that the store did not answer."""
        ids = [f"t{n}" for n in range(2500)]
        await results.store_many(dict.fromkeys(ids, 1))
        got: set[str] = set()

        async def look() -> None:
            async for meta in results.as_completed(ids, timeout=0):
                got.add(meta.task_id)

        await answered(look)

        assert set(ids) == got

    @promise(2)
    async def test_updates(self, results: Results, other: SyncResults) -> None:
        """States and progress arrive as they change, up to the ready one."""
        other.mark_as_started("t")
        got: list[tuple[str, Any]] = []
        async for meta in results.AsyncResult("t").updates(timeout=PATIENCE):
            got.append((meta.status, meta.result))
            if meta.status == "STARTED":
                other.update_state("t", "PROGRESS", 1)
            elif meta.result == 1:
                await results.update_state("t", "PROGRESS", 2)
            elif meta.result == 2:
                await results.store_result("t", "end")

        assert [("STARTED", None), ("PROGRESS", 1), ("PROGRESS", 2), ("SUCCESS", "end")] == got
