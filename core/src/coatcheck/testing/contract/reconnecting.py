"""
What a bell owes to those who wait when its connections break.

No time is measured here: either nothing looks but the bell, or the safety look is far away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator

import pytest

from ... import Bell, Capability, by_url
from ..._results.results import Results
from ..promises import needs, promise
from ..proof import PATIENCE, has
from ..proxy import Proxy
from ..threads import Started
from .case import Case

#: Seconds between looks that nobody waits for in a test.
FAR = 3600.0


def unheard(bell: Bell, task_ids: Collection[str]) -> set[str]:
    """
    Return those of *task_ids* that do not ring while the bell is waited on.
    """
    left, deadline = set(task_ids), time.monotonic() + PATIENCE
    while left and time.monotonic() < deadline:
        left.difference_update(bell.wait(0.5))
    return left


def settled(bell: Bell, *, pushing: bool) -> bool:
    """
    Wait on *bell* until it says *pushing* and nothing rings any more; whether it came to that.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not bell.wait(0.05) and bell.pushing == pushing:
            return True
    return False


class Reconnecting(Case):
    """
    Promise 2, where connections can be cut.
    """

    @pytest.fixture
    def broken(self) -> Iterator[tuple[Results, Callable[[], object]]]:
        """
        A client, and a function that cuts its connections; new ones are taken.
        """
        if self.cuts_by_itself():
            with self.sync_results(safety_look=FAR) as results:
                yield results, self.cut
            return
        with (
            Proxy(*self.address()) as proxy,
            by_url(self.through(proxy.port), safety_look=FAR) as results,
        ):
            yield results, proxy.cut

    @promise(2)
    @needs("cut")
    def test_rings_after_a_cut(
        self, broken: tuple[Results, Callable[[], object]], other: Results
    ) -> None:
        """
        A bell whose connections were cut, again and again, rings for all that was written before
        it could listen again, and for what is written later.
        """
        results, cut = broken
        if not has(results, Capability.PUSH):
            return
        rounds = [([f"a{n}", f"b{n}", f"c{n}"], f"later{n}") for n in range(3)]
        with results.backend.watch([id_ for ids, later in rounds for id_ in (*ids, later)]) as bell:
            for ids, later in rounds:
                assert settled(bell, pushing=True), "the bell does not push"
                cut()
                for id_ in ids:
                    other.store_result(id_, 1)
                silent = unheard(bell, ids)
                assert set() == silent, "written right after a cut, these ids never rang"
                assert settled(bell, pushing=True), "after a cut the bell never pushes again"
                other.store_result(later, 1)
                silent = unheard(bell, [later])
                assert set() == silent, "written after the bell said that it pushes again"

    @promise(2)
    @needs("address", "through")
    def test_rings_after_an_absence(self, other: Results) -> None:
        """
        While the store cannot be reached the bell says that it does not push. Once it can, every
        key rings that was written meanwhile, and those written later.
        """
        with (
            Proxy(*self.address()) as proxy,
            by_url(self.through(proxy.port), operation_timeout=1.0) as results,
        ):
            if not has(results, Capability.PUSH):
                return
            with results.backend.watch(["a", "b", "c", "later"]) as bell:
                proxy.refuse()
                assert settled(bell, pushing=False), "a bell without a connection says it pushes"
                for id_ in "abc":
                    other.store_result(id_, 1)
                proxy.accept()
                silent = unheard(bell, "abc")
                assert set() == silent, "written while the store was away, these ids never rang"
                assert settled(bell, pushing=True), "the bell never pushes again"
                other.store_result("later", 1)
                silent = unheard(bell, ["later"])
                assert set() == silent, "written after the bell said that it pushes again"

    @promise(2)
    @needs("cut")
    def test_wait_over_a_cut(
        self, broken: tuple[Results, Callable[[], object]], other: Results
    ) -> None:
        """
        A wait whose connections are cut does not depend on the safety look.
        """
        results, cut = broken
        for round_ in range(3):
            ids = [f"at-once{round_}", f"later{round_}"]
            waits = [Started(results.wait_for, id_, None) for id_ in ids]
            time.sleep(0.1)
            cut()
            other.store_result(ids[0], round_)
            assert round_ == waits[0].answer().result
            other.store_result(ids[1], round_)
            assert round_ == waits[1].answer().result
