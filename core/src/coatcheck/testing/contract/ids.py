"""
Ids of any shape.
"""

from __future__ import annotations

import pytest

from ... import Capability, ConfigurationError
from ..._results.results import Results
from ..promises import promise
from ..proof import has, has_keys
from ..samples import IDS
from .case import Case


class Ids(Case):
    """
    Promise 4, for ids.
    """

    @promise(4)
    @pytest.mark.parametrize("task_id", IDS)
    def test_id(self, results: Results, task_id: str) -> None:
        """
        An id of any shape can be stored, read, awaited, scanned and forgotten.
        """
        assert results.store_result(task_id, task_id)

        assert task_id == results.wait_for(task_id, 5).result
        assert [task_id] == list(results.get_many([task_id]))
        assert not results.store_result(task_id, "late")
        assert [False, False] == [results.exists(i) for i in (task_id + "x", task_id[1:] or "y")]
        if has(results, Capability.SCAN):
            assert [task_id] == [meta.task_id for meta in results.scan()]
        assert results.forget(task_id)
        assert not results.exists(task_id)

    @promise(4)
    def test_ids_do_not_touch(self, results: Results) -> None:
        """
        Ids that are nearly the same are different ones.
        """
        won = results.store_many({id_: id_ for id_ in IDS})

        assert dict.fromkeys(IDS, True) == won
        assert {id_: id_ for id_ in IDS} == {i: m.result for i, m in results.get_many(IDS).items()}
        assert results.forget("case")
        assert results.exists("CaSe")

    @promise(4)
    @pytest.mark.parametrize("task_id", ["", None, 5, b"bytes", "\ud800"])
    def test_no_id(self, results: Results, task_id: str) -> None:
        """
        What cannot be an id is refused before it reaches the store.
        """
        with pytest.raises(ValueError, match="task id"):
            results.store_result(task_id, 1)
        with pytest.raises(ValueError, match="task id"):
            results.get_task_meta(task_id)

    @promise(4)
    @pytest.mark.parametrize("prefix", ["app:", "", "a b/☃*", "%s{x}"])
    def test_key_prefix(self, results: Results, prefix: str) -> None:
        """
        Records under other prefixes are other records; without keys there are no prefixes.
        """
        if not has_keys(results):
            with pytest.raises(ConfigurationError, match="key_prefix"):
                self.sync_results(key_prefix="app:")
            return
        with self.sync_results(key_prefix=prefix) as prefixed:
            assert prefixed.store_result("t", "prefixed")
            assert results.store_result("t", "default")

            assert "prefixed" == prefixed.wait_for("t", 5).result
            assert "default" == results.get_result("t")
            assert prefixed.forget("t")
        assert results.exists("t")
