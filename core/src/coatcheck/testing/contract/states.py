"""
Which record stays: states, protection, writes that find themselves, writes over one record.
"""

from __future__ import annotations

import pytest

from ... import ANY, UnknownTaskError
from ..._results.results import Results
from ...states import READY_STATES
from ..promises import promise
from ..proof import record_of
from .case import Case


class States(Case):
    """
    Promises 1 and 10, one writer after the other.
    """

    @promise(1)
    def test_first_ready_wins(self, results: Results, other: Results) -> None:
        """
        A ready record stays, whatever comes after, from whom; unready ones give way.
        """
        assert results.mark_as_started("t")
        assert other.update_state("t", "PROGRESS", {"n": 1})
        assert results.store_result("t", 1)
        stored = self.raw_document("t")
        late = ValueError("late")
        refused = [
            results.store_result("t", 1),
            other.store_result("t", 2),
            results.mark_as_failure("t", late),
            other.mark_as_started("t"),
            other.mark_as_retry("t", late),
            results.mark_as_revoked("t"),
            results.expect("t"),
        ]

        assert [False] * 7 == refused
        assert stored == self.raw_document("t")

    @promise(1)
    @pytest.mark.parametrize("first", ["SUCCESS", "FAILURE", "REVOKED"])
    @pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
    def test_ready_states_are_protected(self, first: str, serializer: str, other: Results) -> None:
        """
        All ready states are final, whatever serializer wrote them and whatever the next one uses.
        """
        with self.sync_results(serializer=serializer, unsafe_pickle=True) as results:
            results.store_result("t", None if first == "SUCCESS" else ValueError("x"), first)

            assert not results.store_result("t", "late")
            assert not other.store_result("t", "late")
            assert first == other.get_state("t")

    @promise(1)
    @pytest.mark.parametrize("state", ["PENDING", "RECEIVED", "STARTED", "RETRY", "CUSTOM"])
    def test_last_unready_wins(self, results: Results, state: str) -> None:
        """
        Of unready records the last one stays, and a ready one replaces it.
        """
        assert results.update_state("t", state)
        assert results.update_state("t", "PROGRESS", 2)
        assert results.update_state("t", state)
        assert state == results.get_state("t")

        assert results.store_result("t", 3)
        assert 3 == results.get_result("t")

    @promise(1)
    def test_protect(self, results: Results) -> None:
        """
        Celery's looser rule can be had, by the call and by the client.
        """
        success = frozenset({"SUCCESS"})
        results.mark_as_failure("t", ValueError("first try"))
        results.mark_as_failure("u", ValueError("first try"))
        with self.sync_results(protect=success) as loose:
            assert loose.store_result("u", 2)

        assert results.store_result("t", 2, protect=success)
        assert not results.store_result("t", 3, protect=success)
        assert [2, 2] == [results.get_result(id_) for id_ in "tu"]

    @promise(1)
    def test_write_only_if_absent(self, results: Results) -> None:
        """
        With `ANY` only what is not there is written, ready or not; also in a batch.
        """
        put, put_many = results.backend.put, results.backend.put_many
        started = record_of(results, "t", "STARTED", None)
        ready = record_of(results, "t", "SUCCESS", 1)
        fresh = record_of(results, "u", "SUCCESS", 2)

        assert put("t", started, unless=ANY, expires=60)
        assert not put("t", ready, unless=ANY, expires=60)
        assert [False, True] == put_many([("t", ready), ("u", fresh)], unless=ANY, expires=60)
        assert ["STARTED", "SUCCESS"] == [results.get_state(id_) for id_ in "tu"]

    @promise(1)
    def test_same_write_again(self, results: Results, other: Results) -> None:
        """
        A write that is repeated and finds itself is a success; one like it is not.
        """
        meta = record_of(results, "t", "SUCCESS", 1)

        for _ in range(2):
            assert results.backend.put("t", meta, unless=READY_STATES, expires=60)
            assert results.backend.put("t", meta, unless=ANY, expires=60)
            again = results.backend.put_many([("t", meta)], unless=READY_STATES, expires=60)
            assert [True] == again
        assert not results.store_result("t", 1)
        assert not other.store_result("t", 1)

    @promise(1)
    def test_if_match(self, results: Results) -> None:
        """
        A write over exactly one record touches no other one, and makes none.
        """
        put = results.backend.put
        results.mark_as_started("t")
        stale = results.get_task_meta("t")
        results.update_state("t", "PROGRESS")
        current = results.get_task_meta("t")
        meta = record_of(results, "t", "SUCCESS", 1)

        assert not put("t", meta, unless=READY_STATES, if_match=stale, expires=60)
        assert not put("gone", meta, unless=READY_STATES, if_match=stale, expires=60)
        results.update_state("t", "PROGRESS")
        assert not put("t", meta, unless=READY_STATES, if_match=current, expires=60)
        current = results.get_task_meta("t")
        for _ in range(2):  # the second one finds itself
            assert put("t", meta, unless=READY_STATES, if_match=current, expires=60)
        assert ["SUCCESS", "PENDING"] == [results.get_state(id_) for id_ in ("t", "gone")]

    @promise(1)
    def test_foreign_key_order(self, results: Results) -> None:
        """
        A ready record is protected although its first bytes do not show the state.
        """
        self.plant("t", b'{"result": "x", "status": "SUCCESS", "task_id": "t"}')
        self.plant("u", b'{"result": "SUCCESS", "status": "STARTED", "task_id": "u"}')
        self.plant("v", b'{"result": {"status": "SUCCESS"}, "status": "STARTED"}')

        assert not results.store_result("t", "late")
        assert "x" == results.get_result("t")
        assert {"t": False, "u": True, "v": True} == results.store_many({"t": 1, "u": 2, "v": 3})

    @promise(1)
    def test_forgotten_is_new(self, results: Results) -> None:
        """
        After `forget` the id is new; to forget again is no error.
        """
        results.store_result("t", 1)

        assert results.forget("t")
        assert self.raw_document("t") is None
        assert not results.forget("t")
        assert results.store_result("t", 2)
        assert 2 == results.get_result("t")

    @promise(10)
    def test_unknown(self, results: Results) -> None:
        """
        Unknown is not pending.
        """
        handle = results.AsyncResult("t")

        assert ("PENDING", False) == (handle.state, handle.meta().known)
        with pytest.raises(UnknownTaskError, match="'t'"):
            handle.get(missing="raise")
        assert {"t": False} == {id_: meta.known for id_, meta in results.get_many(["t"]).items()}

    @promise(10, 1)
    def test_expect(self, results: Results, other: Results) -> None:
        """
        An expected task is known; what is there stays.
        """
        assert results.expect("t")
        assert not other.expect("t")
        assert ("PENDING", True) == (other.get_state("t"), other.exists("t"))

        results.mark_as_started("t")
        assert not other.expect("t")
        assert "STARTED" == results.get_state("t")
