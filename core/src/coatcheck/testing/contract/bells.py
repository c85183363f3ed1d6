"""
The bell: a pushing backend's duty to waiters.
"""

from __future__ import annotations

import time

from ... import Capability
from ... import Results as SyncResults
from ...aio import Bell, Results
from ..promises import core, needs, promise
from ..proof import PATIENCE, has
from ..sides import apart, patiently, pause, start, until
from ..threads import Not
from .case import Case

#: Longest wait for a ring. Shorter than the safety look, which would hide a lost ring.
RINGS = min(4.0, PATIENCE)


async def heard(bell: Bell, task_id: str) -> bool:
    """Whether *task_id* rings in time. Other rings are hints that may be false."""
    deadline = time.monotonic() + RINGS
    while (left := deadline - time.monotonic()) > 0:
        if task_id in await bell.wait(left):
            return True
    return False


class Bells(Case):
    """Promise 2, for the backend alone."""

    @promise(2)
    async def test_without_push(self, results: Results) -> None:
        """A store that cannot push says so: its bell only sleeps, and can be woken."""
        if has(results, Capability.PUSH):
            return
        async with results.backend.watch(["t"]) as bell:
            await results.store_result("t", 1)

            assert not bell.pushing
            assert [] == list(await bell.wait(0.05))
            bell.wake()
            assert [] == list(await bell.wait(RINGS))

    @core
    @promise(2)
    async def test_rings(self, results: Results, other: SyncResults) -> None:
        """Each client's writes ring, batches too, and unready ones where the bell says so."""
        if not has(results, Capability.PUSH):
            return
        async with results.backend.watch(["t", "u", "v"]) as bell:
            assert bell.pushing
            other.mark_as_started("t")
            assert not bell.unready or await heard(bell, "t")
            await results.store_result("t", 1)
            assert await heard(bell, "t")
            other.store_many({"u": 1, "v": 2})
            assert await heard(bell, "u") or await heard(bell, "v")

    @promise(2)
    async def test_rings_when_it_can_be_read(self, results: Results, other: SyncResults) -> None:
        """A ring may be early, but then another follows when the record can be read."""
        if not has(results, Capability.PUSH):
            return
        async with results.backend.watch(["t"]) as bell:
            storing = start(apart(other.store_result, "t", 1))
            deadline, read = time.monotonic() + RINGS, False
            while not read and (left := deadline - time.monotonic()) > 0:
                read = "t" in await bell.wait(left) and await results.exists("t")
            await storing

            assert read, "it rang before the record could be read, and never again"

    @promise(2)
    async def test_rings_for_each_of_a_batch(self, results: Results, other: SyncResults) -> None:
        """Every record of a batch rings."""
        if not has(results, Capability.PUSH):
            return
        ids = {f"t{n}" for n in range(20)}
        async with results.backend.watch(ids) as bell:
            other.store_many(dict.fromkeys(sorted(ids), 1))
            silent, deadline = set(ids), time.monotonic() + RINGS
            while silent and time.monotonic() < deadline:
                silent.difference_update(await bell.wait(0.5))

            assert set() == silent, "these never rang"

    @promise(2)
    @needs("open_resources")
    async def test_what_is_discarded_is_given_up(self, results: Results) -> None:
        """`discard` releases the resources that `add` opened, before the bell itself ends."""
        async with results.backend.watch(["t"]) as bell:
            await bell.add(["warm"])
            await bell.discard(["warm"])
            before = self.open_resources()
            ids = [f"t{n}" for n in range(50)]
            await bell.add(ids)
            await bell.discard(ids)

            async def given_up() -> bool | Not:
                await bell.wait(0.01)
                now = self.open_resources()
                return now <= before or Not(f"the store sees {now} open, and had {before} before")

            await until(given_up)

    @core
    @promise(2)
    async def test_watch_is_a_barrier(self, results: Results, other: SyncResults) -> None:
        """Every write after `watch` or `add` returned rings, however soon it comes."""
        if not has(results, Capability.PUSH):
            return
        for round_ in range(5):
            async with results.backend.watch([f"t{round_}"]) as bell:
                other.store_result(f"t{round_}", 1)
                assert await heard(bell, f"t{round_}")
                await bell.add([f"u{round_}", f"v{round_}"])
                other.store_result(f"u{round_}", 1)
                assert await heard(bell, f"u{round_}")

    @promise(2)
    async def test_latches(self, results: Results, other: SyncResults) -> None:
        """A ring between two waits ends the next one."""
        if not has(results, Capability.PUSH):
            return
        async with results.backend.watch(["t"]) as bell:
            await bell.wait(0.01)
            other.store_result("t", 1)
            await pause(0.2)  # by now it rang

            assert await heard(bell, "t")

    @promise(2)
    async def test_wake(self, results: Results) -> None:
        """`wake` ends the current wait, or else the next one."""
        async with results.backend.watch(["t"]) as bell:
            bell.wake()
            await patiently(bell.wait(2 * PATIENCE))
            waiting = start(bell.wait(2 * PATIENCE))
            await pause(0.05)
            bell.wake()

            await waiting

    @promise(2)
    async def test_discard(self, results: Results, other: SyncResults) -> None:
        """Discarded and unknown ids do no harm; the remaining ones still ring."""
        async with results.backend.watch(["t", "u"]) as bell:
            await bell.discard(["t", "never"])
            await bell.discard(["t"])
            other.store_many({"t": 1, "u": 2})

            assert not bell.pushing or await heard(bell, "u")

    @promise(2)
    async def test_no_lock_while_listening(self, results: Results) -> None:
        """While a bell listens, the same backend goes on storing and reading."""

        async def store_and_look() -> bool:
            return await results.store_result("t", 1) and await results.exists("t")

        async with results.backend.watch(["never"]) as bell:
            listening = start(bell.wait(RINGS))
            await pause(0.05)
            try:
                assert await patiently(store_and_look(), patience=RINGS)
                went_on = not listening.done()
            finally:
                bell.wake()
                await listening
            assert went_on
