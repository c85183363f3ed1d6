"""
Forks that run no hook of Python's, and forks in the middle of a wait.
"""

from __future__ import annotations

import os
from functools import partial

import pytest

from ..._results.results import Results
from ..forking import on_both_sides
from ..promises import promise
from ..proof import PATIENCE, innermost
from ..threads import in_threads
from .case import Case


def use(results: Results, side: str, rounds: int = 30) -> None:
    """
    Store, read and wait, and see that the answers are to the questions.
    """
    for round_ in range(rounds):
        id_ = f"{side}-{round_}"
        assert results.store_result(id_, id_) is True
        assert results.get_result(id_) == id_
        assert results.wait_for(id_, PATIENCE).result == id_


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
class Forks(Case):
    """
    Promise 9.
    """

    @promise(9, 1)
    def test_fork_in_c(self, results: Results) -> None:
        """
        After a fork that ran no hook, parent and child store, read and wait at the same time, and
        neither reads what the other asked for.
        """
        use(results, "before", 2)

        on_both_sides(partial(use, results))

    @promise(9, 1)
    def test_fork_in_c_and_threads(self, results: Results) -> None:
        """
        Several threads of such a child may be the first to use the store.
        """
        use(results, "before", 2)

        def act(side: str) -> None:
            in_threads(partial(use, results, f"{side}-{n}", 5) for n in range(6))

        on_both_sides(act)

    @promise(9)
    def test_fork_in_c_and_close(self, results: Results) -> None:
        """
        Such a child may close first. The parent's connections stay open.
        """
        use(results, "before", 2)

        def act(side: str) -> None:
            results.close()
            use(results, side, 5)

        on_both_sides(act)

    @promise(9)
    def test_fork_in_c_and_the_bare_backend(self, results: Results) -> None:
        """
        The backend by itself keeps to that, too.
        """
        backend = innermost(results.backend)
        use(results, "before", 2)

        def act(side: str) -> None:
            del side
            for _ in range(30):
                assert backend.get_many(["never"]) == {}
                assert backend.delete_many(["never"]) == 0

        on_both_sides(act)

    @promise(9)
    def test_fork_in_c_while_running(self, results: Results) -> None:
        """
        Such a child may end a block that it copied, although the thread that gave signs of life is
        not there.
        """
        with results.running("t", heartbeat=0.2) as task:

            def act(side: str) -> None:
                if side == "child":
                    task.__exit__(None, None, None)
                use(results, side, 5)

            on_both_sides(act)

    @promise(9, 2)
    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_fork_within_a_wait(self, results: Results) -> None:
        """
        Where the process forks between two results of one wait, the child's copy goes on as well.
        """
        results.store_many({"a": 1, "b": 2})
        waiting = results.as_completed(["a", "b", "late"], timeout=PATIENCE)
        first = [next(waiting).result, next(waiting).result]
        child = os.fork()
        if child == 0:
            status = 1
            try:
                results.store_result("late", 3)
                first += [meta.result for meta in waiting]
                status = 0 if sorted(first) == [1, 2, 3] else 2
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        results.store_result("late", 3)
        first += [meta.result for meta in waiting]

        assert status == 0
        assert sorted(first) == [1, 2, 3]
