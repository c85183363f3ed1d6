"""
Forks with hooks, without hooks, and during a wait.
"""

from __future__ import annotations

import math
import os
import signal
from functools import partial

import pytest

from ... import Capability
from ..._results.results import Results
from ..forked import forked
from ..forking import on_both_sides
from ..promises import core, promise
from ..proof import PATIENCE, has, innermost
from ..threads import Started, in_threads
from .case import SyncCase


def use(results: Results, side: str, rounds: int = 30) -> None:
    """Store, read and wait, and check that each answer fits its question."""
    for round_ in range(rounds):
        id_ = f"{side}-{round_}"
        assert results.store_result(id_, id_) is True
        assert results.get_result(id_) == id_
        assert results.wait_for(id_, PATIENCE).result == id_


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
class Forks(SyncCase):
    """Promise 9."""

    @core
    @promise(9)
    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_fork(self, sync: Results) -> None:
        """A forked child waits and stores with the same object, and so does its parent."""
        sync.store_result("before", 1)
        sync.wait_for("before", PATIENCE)

        def act() -> None:
            sync.wait_for("before", PATIENCE)
            sync.store_result("child", 2)

        with forked(act):
            if has(sync, Capability.SHARED):
                assert 2 == sync.wait_for("child", PATIENCE).result

        assert sync.store_result("parent", 3)
        assert 3 == sync.wait_for("parent", PATIENCE).result

    @promise(9)
    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_fork_during_wait(self, sync: Results, other: Results) -> None:
        """A fork during a wait harms neither that wait nor the child's own waits."""
        sync.store_result("before", 1)
        wait = Started(sync.wait_for, "t", PATIENCE)
        with forked(partial(sync.wait_for, "before", PATIENCE)):
            pass
        other.store_result("t", 2)

        assert 2 == wait.answer().result

    @promise(9, 1)
    def test_fork_in_c(self, sync: Results) -> None:
        """
        After a fork without hooks, parent and child work at the same time and never mix replies.
        """
        use(sync, "before", 2)

        on_both_sides(partial(use, sync))

    @promise(9, 1)
    def test_fork_in_c_and_threads(self, sync: Results) -> None:
        """Several threads of such a child may be the first to use the store."""
        use(sync, "before", 2)

        def act(side: str) -> None:
            in_threads(partial(use, sync, f"{side}-{n}", 5) for n in range(6))

        on_both_sides(act)

    @promise(9)
    def test_fork_in_c_and_close(self, sync: Results) -> None:
        """Such a child may close first. The parent's connections stay open."""
        use(sync, "before", 2)

        def act(side: str) -> None:
            sync.close()
            use(sync, side, 5)

        on_both_sides(act)

    @promise(9)
    def test_fork_in_c_and_the_bare_backend(self, sync: Results) -> None:
        """The same holds for the backend alone."""
        backend = innermost(sync.backend)
        use(sync, "before", 2)

        def act(side: str) -> None:
            del side
            for _ in range(30):
                assert backend.get_many(["never"]) == {}
                assert backend.delete_many(["never"]) == 0

        on_both_sides(act)

    @promise(9)
    def test_fork_in_c_while_running(self, sync: Results) -> None:
        """Such a child may end a block that it copied, although its heartbeat thread is missing."""
        with sync.running("t", heartbeat=0.2) as task:

            def act(side: str) -> None:
                if side == "child":
                    task.__exit__(None, None, None)
                use(sync, side, 5)

            on_both_sides(act)

    @promise(9, 2)
    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_fork_within_a_wait(self, sync: Results) -> None:
        """If a process forks between two results of a wait, the child's copy goes on as well."""
        sync.store_many({"a": 1, "b": 2})
        # Without a deadline, or the last look at it would find what the wait has missed.
        waiting = sync.as_completed(["a", "b", "late"])
        first = [next(waiting).result, next(waiting).result]
        child = os.fork()
        if child == 0:
            status = 1
            signal.alarm(math.ceil(PATIENCE))
            try:
                sync.store_result("late", 3)
                first += [meta.result for meta in waiting]
                status = 0 if sorted(first) == [1, 2, 3] else 2
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sync.store_result("late", 3)
        first += [meta.result for meta in waiting]

        assert status == 0
        assert sorted(first) == [1, 2, 3]
