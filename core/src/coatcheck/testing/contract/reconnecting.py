"""
The bell's duty to waiters after its connections broke.

No time is measured here: either only the bell looks, or the safety look is far away.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from ... import Capability
from ... import Results as SyncResults
from ...aio import Bell, Results
from ..promises import needs, promise
from ..proof import PATIENCE, has
from ..proxy import Proxy
from ..sides import pause, start
from .case import Case

#: Seconds between looks that nobody waits for in a test.
FAR = 3600.0


async def unheard(bell: Bell, task_ids: Collection[str]) -> set[str]:
    """Return those of *task_ids* that do not ring in time."""
    left, deadline = set(task_ids), time.monotonic() + PATIENCE
    while left and time.monotonic() < deadline:
        left.difference_update(await bell.wait(0.5))
    return left


async def settled(bell: Bell, *, pushing: bool) -> bool:
    """Wait until *bell* says *pushing* and is silent; return whether that happened."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not await bell.wait(0.05) and bell.pushing == pushing:
            return True
    return False


class Reconnecting(Case):
    """Promise 2, where connections can be cut."""

    @asynccontextmanager
    async def _cut_off(self) -> AsyncIterator[tuple[Results, Callable[[], object]]]:
        """A client, and a function that cuts its connections; new ones are accepted."""
        if self.cuts_by_itself():
            async with self.new_results(safety_look=FAR) as results:
                yield results, self.cut
            return
        with Proxy(*self.address()) as proxy:
            async with self.results_through(proxy, safety_look=FAR) as results:
                yield results, proxy.cut

    @promise(2)
    @needs("cut")
    async def test_rings_after_a_cut(self, other: SyncResults) -> None:
        """
        After each cut a bell rings for all writes, from before and after it could listen again.
        """
        async with self._cut_off() as (results, cut):
            if not has(results, Capability.PUSH):
                return
            rounds = [([f"a{n}", f"b{n}", f"c{n}"], f"later{n}") for n in range(3)]
            watched = [id_ for ids, later in rounds for id_ in (*ids, later)]
            async with results.backend.watch(watched) as bell:
                for ids, later in rounds:
                    assert await settled(bell, pushing=True), "the bell does not push"
                    cut()
                    for id_ in ids:
                        other.store_result(id_, 1)
                    silent = await unheard(bell, ids)
                    assert set() == silent, "written right after a cut, these ids never rang"
                    assert await settled(bell, pushing=True), (
                        "after a cut the bell never pushes again"
                    )
                    other.store_result(later, 1)
                    silent = await unheard(bell, [later])
                    assert set() == silent, "written after the bell said that it pushes again"

    @promise(2)
    @needs("address", "through")
    async def test_rings_after_an_absence(self, other: SyncResults) -> None:
        """A bell without its store does not claim to push; afterwards it rings for all writes."""
        with Proxy(*self.address()) as proxy:
            async with self.results_through(proxy, operation_timeout=3.0) as results:
                if not has(results, Capability.PUSH):
                    return
                async with results.backend.watch(["a", "b", "c", "later"]) as bell:
                    proxy.refuse()
                    away = await settled(bell, pushing=False)
                    assert away, "a bell without a connection says it pushes"
                    for id_ in "abc":
                        other.store_result(id_, 1)
                    proxy.accept()
                    silent = await unheard(bell, "abc")
                    assert set() == silent, "written while the store was away, these never rang"
                    assert await settled(bell, pushing=True), "the bell never pushes again"
                    other.store_result("later", 1)
                    silent = await unheard(bell, ["later"])
                    assert set() == silent, "written after the bell said that it pushes again"

    @promise(2)
    @needs("cut")
    async def test_wait_over_a_cut(self, other: SyncResults) -> None:
        """A wait whose connections are cut does not depend on the safety look."""
        async with self._cut_off() as (results, cut):
            for round_ in range(3):
                ids = [f"at-once{round_}", f"later{round_}"]
                waits = [start(results.wait_for(id_)) for id_ in ids]
                await pause(0.1)
                cut()
                other.store_result(ids[0], round_)
                assert round_ == (await waits[0]).result
                other.store_result(ids[1], round_)
                assert round_ == (await waits[1]).result
