"""
Which record stays: states, protection, repeated writes, writes over one record.
"""

from __future__ import annotations

import pytest

from ... import ANY, UnknownTaskError
from ... import Results as SyncResults
from ...aio import Results
from ...states import READY_STATES
from ..promises import core, promise
from ..proof import record_of
from .case import Case


class States(Case):
    """Promises 1 and 10, one writer after the other."""

    @core
    @promise(1)
    async def test_first_ready_wins(self, results: Results, other: SyncResults) -> None:
        """No later write replaces a ready record; unready ones give way."""
        assert await results.mark_as_started("t")
        assert other.update_state("t", "PROGRESS", {"n": 1})
        assert await results.store_result("t", 1)
        stored = self.raw_document("t")
        late = ValueError("late")
        refused = [
            await results.store_result("t", 1),
            await results.mark_as_done("t", 2),
            await results.mark_as_failure("t", late),
            await results.mark_as_started("t"),
            await results.mark_as_retry("t", late),
            await results.mark_as_revoked("t"),
            await results.expect("t"),
            other.store_result("t", 2),
            other.mark_as_started("t"),
            other.mark_as_retry("t", late),
        ]

        assert [False] * 10 == refused
        assert stored == self.raw_document("t")

    @promise(1)
    @pytest.mark.parametrize("first", ["SUCCESS", "FAILURE", "REVOKED"])
    @pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
    async def test_ready_states_are_protected(
        self, results: Results, other: SyncResults, first: str, serializer: str
    ) -> None:
        """All ready states are final, for all serializers of the first and the next writer."""
        value = None if first == "SUCCESS" else ValueError("x")
        async with self.new_results(serializer=serializer, unsafe_pickle=True) as writer:
            await writer.store_result("t", value, first)

            assert not await writer.store_result("t", "late")
        assert not await results.store_result("t", "late")
        assert not other.store_result("t", "late")
        assert first == other.get_state("t")

    @promise(1)
    @pytest.mark.parametrize("state", ["PENDING", "RECEIVED", "STARTED", "RETRY", "CUSTOM"])
    async def test_last_unready_wins(self, results: Results, state: str) -> None:
        """The last unready record stays, and a ready one replaces it."""
        assert await results.update_state("t", state)
        assert await results.update_state("t", "PROGRESS", 2)
        assert await results.update_state("t", state)
        assert state == await results.get_state("t")

        assert await results.store_result("t", 3)
        assert 3 == await results.get_result("t")

    @promise(1)
    async def test_protect(self, results: Results) -> None:
        """A call or a client may choose Celery's looser rule."""
        success = frozenset({"SUCCESS"})
        await results.mark_as_failure("t", ValueError("first try"))
        await results.mark_as_failure("u", ValueError("first try"))
        async with self.new_results(protect=success) as loose:
            assert await loose.store_result("u", 2)

        assert await results.store_result("t", 2, protect=success)
        assert not await results.store_result("t", 3, protect=success)
        assert [2, 2] == [await results.get_result(id_) for id_ in "tu"]

    @promise(1)
    async def test_write_only_if_absent(self, results: Results) -> None:
        """With `ANY` a write succeeds only if the id is absent; in a batch, too."""
        put, put_many = results.backend.put, results.backend.put_many
        started = record_of(results, "t", "STARTED", None)
        ready = record_of(results, "t", "SUCCESS", 1)
        fresh = record_of(results, "u", "SUCCESS", 2)

        assert await put("t", started, unless=ANY, expires=60)
        assert not await put("t", ready, unless=ANY, expires=60)
        assert [False, True] == await put_many([("t", ready), ("u", fresh)], unless=ANY, expires=60)
        assert ["STARTED", "SUCCESS"] == [await results.get_state(id_) for id_ in "tu"]

    @promise(1)
    async def test_same_write_again(self, results: Results, other: SyncResults) -> None:
        """A repeated write that finds itself succeeds; an equal one does not."""
        meta = record_of(results, "t", "SUCCESS", 1)
        backend = results.backend

        for _ in range(2):
            assert await backend.put("t", meta, unless=READY_STATES, expires=60)
            assert await backend.put("t", meta, unless=ANY, expires=60)
            assert [True] == await backend.put_many([("t", meta)], unless=READY_STATES, expires=60)
        assert not await results.store_result("t", 1)
        assert not other.store_result("t", 1)

    @core
    @promise(1)
    async def test_if_match(self, results: Results) -> None:
        """A write over one exact record replaces no other, and creates none."""
        put = results.backend.put
        await results.mark_as_started("t")
        stale = await results.get_task_meta("t")
        await results.update_state("t", "PROGRESS")
        current = await results.get_task_meta("t")
        meta = record_of(results, "t", "SUCCESS", 1)

        assert not await put("t", meta, unless=READY_STATES, if_match=stale, expires=60)
        assert not await put("gone", meta, unless=READY_STATES, if_match=stale, expires=60)
        await results.update_state("t", "PROGRESS")
        assert not await put("t", meta, unless=READY_STATES, if_match=current, expires=60)
        current = await results.get_task_meta("t")
        for _ in range(2):  # the second one finds itself
            assert await put("t", meta, unless=READY_STATES, if_match=current, expires=60)
        assert ["SUCCESS", "PENDING"] == [await results.get_state(id_) for id_ in ("t", "gone")]

    @promise(1)
    async def test_foreign_key_order(self, results: Results) -> None:
        """A ready record is protected although its first bytes do not show the state."""
        self.plant("t", b'{"result": "x", "status": "SUCCESS", "task_id": "t"}')
        self.plant("u", b'{"result": "SUCCESS", "status": "STARTED", "task_id": "u"}')
        self.plant("v", b'{"result": {"status": "SUCCESS"}, "status": "STARTED"}')

        assert not await results.store_result("t", "late")
        assert "x" == await results.get_result("t")
        won = await results.store_many({"t": 1, "u": 2, "v": 3})
        assert {"t": False, "u": True, "v": True} == won

    @promise(1)
    async def test_forgotten_is_new(self, results: Results) -> None:
        """After `forget` the id is new; forgetting twice is no error."""
        await results.store_result("t", 1)

        assert await results.forget("t")
        assert self.raw_document("t") is None
        assert not await results.forget("t")
        assert await results.store_result("t", 2)
        assert 2 == await results.get_result("t")

    @promise(10)
    async def test_unknown(self, results: Results) -> None:
        """Unknown is not pending."""
        handle = results.AsyncResult("t")

        assert ("PENDING", False) == (await handle.state(), (await handle.meta()).known)
        with pytest.raises(UnknownTaskError, match="'t'"):
            await handle.get(missing="raise")
        metas = await results.get_many(["t"])
        assert {"t": False} == {id_: meta.known for id_, meta in metas.items()}

    @promise(10, 1)
    async def test_expect(self, results: Results, other: SyncResults) -> None:
        """`expect` makes a task known, and replaces nothing."""
        assert await results.expect("t")
        assert not other.expect("t")
        assert not await results.expect("t")
        assert ("PENDING", True) == (other.get_state("t"), other.exists("t"))

        await results.mark_as_started("t")
        assert not await results.expect("t")
        assert not other.expect("t")
        assert "STARTED" == await results.get_state("t")
