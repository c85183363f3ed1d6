"""
Many at once.
"""

from __future__ import annotations

from ... import Results as SyncResults
from ...aio import Results
from ...states import READY_STATES
from ..promises import core, promise
from ..proof import record_of
from .case import Case


class Batches(Case):
    """Promises 1, 4 and 6, for batches."""

    @core
    @promise(1, 4)
    async def test_many(self, results: Results, other: SyncResults) -> None:
        """A batch keeps its order, answers for each record, and may exceed one round trip."""
        ids = [f"t{n}" for n in range(2500)]
        other.store_result("t7", "first")
        won = await results.store_many((id_, id_) for id_ in ids)

        assert ids == list(won)
        assert ["t7"] == [id_ for id_, first in won.items() if not first]
        for metas in (await results.get_many(reversed(ids)), other.get_many(reversed(ids))):
            assert list(reversed(ids)) == list(metas)
            assert "first" == metas["t7"].result
            assert ids[8:] == [metas[id_].result for id_ in ids[8:]]

    @promise(4)
    async def test_none_at_all(self, results: Results) -> None:
        """Empty batches are answered."""
        assert {} == await results.store_many({})
        assert {} == await results.get_many([])
        assert [] == await results.backend.put_many([], unless=READY_STATES, expires=60)
        assert {} == await results.backend.get_many([])
        assert 0 == await results.backend.delete_many([])
        assert [] == [meta async for meta in results.as_completed([], timeout=5)]

    @promise(10)
    async def test_some_absent(self, results: Results) -> None:
        """The backend leaves out absent records; `Results` reports them as unknown."""
        await results.store_many({"a": 1, "c": 3, "aa": 4})
        found = await results.backend.get_many(["a", "b", "c", "a"])
        metas = await results.get_many("abc")

        assert {"a", "c"} == set(found)
        assert {str} == set(map(type, found))
        assert [True, False, True] == [meta.known for meta in metas.values()]

    @promise(1)
    async def test_one_id_twice(self, results: Results) -> None:
        """Of two records for one id in one batch the first one stays."""
        pairs = [("t", record_of(results, "t", "SUCCESS", n)) for n in (1, 2)]
        won = await results.backend.put_many(pairs, unless=READY_STATES, expires=60)

        assert [True, False] == won
        assert 1 == await results.get_result("t")

    @core
    @promise(7)
    async def test_delete_many(self, results: Results) -> None:
        """A deletion counts the records that were there, and touches no others."""
        ids = [f"t{n}" for n in range(1500)]
        await results.store_many(dict.fromkeys(ids, 1))
        assert 1 == await results.backend.delete_many(["t1"])  # and none that begins with it
        deleted = await results.backend.delete_many([*ids[1:], "absent"])
        metas = await results.get_many(ids)

        assert len(ids) - 2 == deleted
        assert ids[:1] == [id_ for id_, meta in metas.items() if meta.known]
