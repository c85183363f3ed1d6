"""
Groups of tasks that are saved and restored, and hooks that watch.
"""

from __future__ import annotations

import pytest

from ... import Capability, WaitTimeoutError
from ..._results.results import Results
from ..promises import promise
from ..proof import PATIENCE, has
from ..threads import Started, until
from ..watcher import EXPECTED, Watcher
from .case import Case


class Groups(Case):
    """
    Promises 2, 4 and 7, for sets of tasks; and what plugins are told.
    """

    @promise(2)
    def test_result_set(self, results: Results, other: Results) -> None:
        """
        The values of a set come in its order, in whatever order they were stored.
        """
        ids = [f"t{n}" for n in range(100)]
        tasks = results.ResultSet(ids)
        waiting = Started(tasks.get, PATIENCE)
        other.store_many({id_: id_ for id_ in reversed(ids)})

        assert ids == waiting.answer()
        assert (True, True, 100) == (tasks.ready(), tasks.successful(), tasks.completed_count())

    @promise(3)
    def test_result_set_times_out(self, results: Results) -> None:
        """
        A set that is not complete at the deadline names what is missing.
        """
        results.store_result("a", 1)
        with pytest.raises(WaitTimeoutError) as caught:
            results.ResultSet(["a", "b"]).get(timeout=0.1)

        assert {"b"} == caught.value.task_ids

    @promise(4)
    @pytest.mark.parametrize("group_id", ["group", "of emoji 🎉", "x" * 500, "a/b"])
    def test_group(self, results: Results, other: Results, group_id: str) -> None:
        """
        A set is saved under an id of any shape, restored by another client, and deleted alone.
        """
        ids = ["b", "a", "line\nbreak"]
        results.ResultSet(ids).save(group_id)
        results.store_result("a", 1)
        restored = other.restore_group(group_id)

        assert ids == restored.task_ids
        assert not other.exists(group_id)
        if has(results, Capability.SCAN):
            assert ["a"] == [meta.task_id for meta in results.scan()]
        assert restored.delete()
        assert not restored.delete()
        assert results.exists("a")
        with pytest.raises(LookupError):
            results.restore_group(group_id)

    @promise(3)
    def test_group_expires(self, results: Results) -> None:
        """
        A saved set lives as long as it was to, and the last save wins.
        """
        results.ResultSet(["a"]).save("g", expires=60)
        results.ResultSet(["a", "b"]).save("g", expires=0.5)
        assert ["a", "b"] == results.restore_group("g").task_ids

        assert until(lambda: results.backend.get_group("g") is None)

    @promise(2)
    def test_hooks(self) -> None:
        """
        Plugins are told of every store, read, wait, failure and forgotten record, in order.
        """
        watcher = Watcher()
        with self.sync_results(plugins=[watcher]) as results:
            results.store_result("t", 1)
            results.store_result("t", 2)
            results.store_many({"a": 1, "t": 3})
            results.get_many("atx")
            results.wait_for("t", 5)
            with pytest.raises(WaitTimeoutError):
                results.wait_for("x", 0)
            results.forget("t")

        assert EXPECTED == watcher.told
