"""
One client used by many threads, by a forked child, and one store used by other processes.
"""

from __future__ import annotations

import os
from functools import partial

import pytest

from ... import Capability
from ..._results.results import Results
from ..child import children
from ..forked import forked
from ..promises import promise
from ..proof import PATIENCE, has
from ..threads import Started, in_threads
from .case import Case


class Sharing(Case):
    """
    Promise 9.
    """

    @promise(9, 2)
    def test_threads(self, results: Results) -> None:
        """
        Threads store, read, wait and forget with one object, and none sees another's replies.
        """

        def work(number: int) -> list[object]:
            got: list[object] = []
            for round_ in range(10):
                id_ = f"t{number}-{round_}"
                wait = results.as_completed([id_], timeout=PATIENCE)
                results.store_result(id_, [number, round_])
                got.append(next(iter(wait)).result)
                got.append(results.get_result(id_))
                results.forget(id_)
            return got

        answers = in_threads(partial(work, number) for number in range(16))

        expected = [[[n, round_] for round_ in range(10) for _ in range(2)] for n in range(16)]
        assert expected == answers

    @promise(9)
    def test_other_processes(self, results: Results) -> None:
        """
        Where other processes are said to see the records, they do, both ways.
        """
        if not has(results, Capability.SHARED):
            return
        results.store_result("ours", "from here")
        jobs = [("read", (self.store_url, "ours")), ("store", (self.store_url, "theirs", 2))]
        with children(jobs) as started:
            for child in started:
                child.go()
            answers = [child.answer() for child in started]

        assert ["from here", True] == answers
        assert 2 == results.get_result("theirs")

    @promise(9)
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_fork(self, results: Results) -> None:
        """
        A forked child waits and stores with the same object, and so does its parent.
        """
        results.store_result("before", 1)
        results.wait_for("before", 5)

        def act() -> None:
            results.wait_for("before", PATIENCE)
            results.store_result("child", 2)

        with forked(act):
            if has(results, Capability.SHARED):
                assert 2 == results.wait_for("child", PATIENCE).result

        assert results.store_result("parent", 3)
        assert 3 == results.wait_for("parent", 5).result

    @promise(9)
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_fork_during_wait(self, results: Results, other: Results) -> None:
        """
        A fork while a wait is open harms neither that wait nor the child's own ones.
        """
        results.store_result("before", 1)
        wait = Started(results.wait_for, "t", PATIENCE)
        with forked(partial(results.wait_for, "before", PATIENCE)):
            pass
        other.store_result("t", 2)

        assert 2 == wait.answer().result
