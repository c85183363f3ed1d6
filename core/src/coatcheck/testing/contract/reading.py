"""
Reads change nothing, and a handle reads no more than it has to.
"""

from __future__ import annotations

import threading
import time

import pytest

from ... import Capability, TaskError
from ..._backends.backend import DEFAULT_KEY_PREFIX
from ..._results.results import Results
from ..promises import needs, promise
from ..proof import PATIENCE, has
from ..threads import Started, answered, until
from .case import Case


def read_in_every_way(results: Results, task_id: str) -> None:
    """
    Read a ready record as often as there are ways to.
    """
    results.get_task_meta(task_id)
    results.get_many([task_id])
    results.get_result(task_id)
    results.wait_for(task_id, PATIENCE)
    list(results.as_completed([task_id], timeout=PATIENCE))
    list(results.AsyncResult(task_id).updates(timeout=PATIENCE))
    answered(lambda: results.AsyncResult(task_id).get(timeout=0))
    if has(results, Capability.SCAN):
        list(results.scan())


class Reading(Case):
    """
    Promise 7.
    """

    @promise(7)
    def test_reads_change_nothing(self, results: Results, other: Results) -> None:
        """
        After every kind of read the store holds the same, and the next reader gets it.
        """
        results.store_result("t", 1, expires=60)
        stored = self.raw_document("t")
        read_in_every_way(results, "t")
        read_in_every_way(other, "t")

        assert stored is not None
        assert stored == self.raw_document("t")

    @promise(7, 3)
    @needs("raw_ttl")
    def test_reads_prolong_nothing(self, results: Results) -> None:
        """
        A record that is read lives no longer for it.
        """
        results.store_result("t", 1, expires=60)
        before = self.raw_ttl(DEFAULT_KEY_PREFIX + "t")
        read_in_every_way(results, "t")
        after = self.raw_ttl(DEFAULT_KEY_PREFIX + "t")

        assert before is not None
        assert after is not None
        assert after <= before

    @promise(7)
    def test_reads_leave_what_expired(self, results: Results) -> None:
        """
        Reads do not delete what expired: of records that expired together, those that are read and
        those that are not stay, or are cleared away by the store, alike.
        """
        ids = [f"t{n}" for n in range(20)]
        results.store_many(dict.fromkeys(ids, 1), expires=0.5)
        results.store_result("last", 1, expires=0.5)
        until(lambda: not results.exists("last"))
        time.sleep(0.05)
        before = {id_ for id_ in ids if self.raw_document(id_) is not None}
        results.get_many(ids[::2])
        for id_ in ids[::2]:
            results.get_task_meta(id_)
        gone = [id_ for id_ in ids if id_ in before and self.raw_document(id_) is None]

        if has(results, Capability.TTL) and not set(gone) <= set(ids[::2]):
            return  # the store cleared away some of each kind, by itself
        assert [] == gone, "these had expired, and reading them deleted them"

    @promise(1, 7)
    def test_readers_beside_writers(self, results: Results, other: Results) -> None:
        """
        A record that was acknowledged where another had expired stays, whoever reads meanwhile.
        """
        ids = [f"t{n}" for n in range(200)]
        results.store_many(dict.fromkeys(ids, "old"), expires=0.2)
        results.store_result("last", 1, expires=0.2)
        until(lambda: not other.exists("last"))
        done = threading.Event()

        def read(client: Results) -> None:
            while not done.is_set():
                for start in range(0, len(ids), 20):
                    client.get_many(ids[start : start + 20])
                    time.sleep(0.0005)  # lets the writer run

        readers = [Started(read, client) for client in (results, other)]
        acknowledged = [id_ for id_ in ids if results.store_result(id_, "new")]
        done.set()
        for reader in readers:
            reader.answer()
        metas = other.get_many(acknowledged)
        lost = [id_ for id_, meta in metas.items() if meta.result != "new"]

        assert ids == acknowledged
        assert [] == lost, f"{len(lost)} of {len(ids)} acknowledged records are gone"

    @promise(7)
    def test_read_only(self, results: Results) -> None:
        """
        Who may only read writes and deletes nothing.
        """
        with self.sync_results(read_only=True) as reader:
            with pytest.raises(NotImplementedError, match="read-only"):
                reader.store_result("t", 1)
            results.store_result("t", 2)
            with pytest.raises(NotImplementedError, match="read-only"):
                reader.forget("t")

            assert 2 == reader.wait_for("t", 5).result

    @promise(7)
    def test_handle(self, results: Results) -> None:
        """
        A handle reads until the task is ready, and remembers it then.
        """
        handle = results.AsyncResult("t")
        results.update_state("t", "PROGRESS", 5)
        assert ("PROGRESS", 5, False) == (handle.state, handle.info, handle.ready())
        results.mark_as_failure("t", ValueError("bad"))

        assert (True, True, False) == (handle.ready(), handle.failed(), handle.successful())
        assert handle.date_done is not None
        with pytest.raises(ValueError, match="bad"):
            handle.get(timeout=5)
        with pytest.raises(TaskError, match="ValueError: bad"):
            handle.get(wrap=True)
        assert "bad" == str(handle.get(propagate=False))
        results.forget("t")
        assert "FAILURE" == handle.state
        assert not handle.forget()
        assert "PENDING" == handle.state
