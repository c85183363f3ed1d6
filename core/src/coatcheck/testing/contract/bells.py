"""
The bell: what a backend that pushes owes to those who wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection

from ... import Bell, Capability
from ..._results.results import Results
from ..promises import needs, promise
from ..proof import PATIENCE, has
from ..threads import Not, Started, until
from .case import Case

#: Seconds in which a ring has to come. Less than the safety look, which would hide a lost one.
RINGS = min(4.0, PATIENCE)


def heard(bell: Bell, task_id: str) -> bool:
    """
    Whether *task_id* rings in time. Other rings are hints that may be false.
    """
    deadline = time.monotonic() + RINGS
    while (left := deadline - time.monotonic()) > 0:
        rang: Collection[str] = bell.wait(left)
        if task_id in rang:
            return True
    return False


class Bells(Case):
    """
    Promise 2, for the backend alone.
    """

    @promise(2)
    def test_without_push(self, results: Results) -> None:
        """
        A store that cannot push says so: its bell only sleeps, and can be woken.
        """
        if has(results, Capability.PUSH):
            return
        with results.backend.watch(["t"]) as bell:
            results.store_result("t", 1)

            assert not bell.pushing
            assert [] == list(bell.wait(0.05))
            bell.wake()
            assert [] == list(bell.wait(RINGS))

    @promise(2)
    def test_rings(self, results: Results, other: Results) -> None:
        """
        Every write rings, of whoever it is, also of a batch; unready ones where the bell says so.
        """
        if not has(results, Capability.PUSH):
            return
        with results.backend.watch(["t", "u", "v"]) as bell:
            assert bell.pushing
            other.mark_as_started("t")
            assert not bell.unready or heard(bell, "t")
            results.store_result("t", 1)
            assert heard(bell, "t")
            other.store_many({"u": 1, "v": 2})
            assert heard(bell, "u") or heard(bell, "v")

    @promise(2)
    def test_rings_when_it_can_be_read(self, results: Results, other: Results) -> None:
        """
        A ring may be early, but then another one comes when the record can be read.
        """
        if not has(results, Capability.PUSH):
            return
        with results.backend.watch(["t"]) as bell:
            storing = Started(other.store_result, "t", 1)
            deadline, read = time.monotonic() + RINGS, False
            while not read and (left := deadline - time.monotonic()) > 0:
                read = "t" in bell.wait(left) and results.exists("t")
            storing.answer()

            assert read, "it rang before the record could be read, and never again"

    @promise(2)
    def test_rings_for_each_of_a_batch(self, results: Results, other: Results) -> None:
        """
        Every record of a batch rings.
        """
        if not has(results, Capability.PUSH):
            return
        ids = {f"t{n}" for n in range(20)}
        with results.backend.watch(ids) as bell:
            other.store_many(dict.fromkeys(sorted(ids), 1))
            silent, deadline = set(ids), time.monotonic() + RINGS
            while silent and time.monotonic() < deadline:
                silent.difference_update(bell.wait(0.5))

            assert set() == silent, "these never rang"

    @promise(2)
    @needs("open_resources")
    def test_what_is_discarded_is_given_up(self, results: Results) -> None:
        """
        What `add` opens ends with `discard`, and not only with the bell.
        """
        with results.backend.watch(["t"]) as bell:
            bell.add(["warm"])
            bell.discard(["warm"])
            before = self.open_resources()
            ids = [f"t{n}" for n in range(50)]
            bell.add(ids)
            bell.discard(ids)

            def given_up() -> bool | Not:
                bell.wait(0.01)
                now = self.open_resources()
                return now <= before or Not(f"the store sees {now} open, and had {before} before")

            until(given_up)

    @promise(2)
    def test_watch_is_a_barrier(self, results: Results, other: Results) -> None:
        """
        What is written after `watch` or `add` returned rings, however soon.
        """
        if not has(results, Capability.PUSH):
            return
        for round_ in range(5):
            with results.backend.watch([f"t{round_}"]) as bell:
                other.store_result(f"t{round_}", 1)
                assert heard(bell, f"t{round_}")
                bell.add([f"u{round_}", f"v{round_}"])
                other.store_result(f"u{round_}", 1)
                assert heard(bell, f"u{round_}")

    @promise(2)
    def test_latches(self, results: Results, other: Results) -> None:
        """
        A ring between two waits ends the next one.
        """
        if not has(results, Capability.PUSH):
            return
        with results.backend.watch(["t"]) as bell:
            bell.wait(0.01)
            other.store_result("t", 1)
            time.sleep(0.2)  # by now it rang

            assert heard(bell, "t")

    @promise(2)
    def test_wake(self, results: Results) -> None:
        """
        `wake` ends the wait that goes on, or else the next one.
        """
        with results.backend.watch(["t"]) as bell:
            bell.wake()
            latched = Started(bell.wait, 2 * PATIENCE)
            latched.answer()
            waiting = Started(bell.wait, 2 * PATIENCE)
            time.sleep(0.05)
            bell.wake()

            waiting.answer()

    @promise(2)
    def test_discard(self, results: Results, other: Results) -> None:
        """
        What is no longer watched is no matter, nor what never was; the rest rings on.
        """
        with results.backend.watch(["t", "u"]) as bell:
            bell.discard(["t", "never"])
            bell.discard(["t"])
            other.store_many({"t": 1, "u": 2})

            assert not bell.pushing or heard(bell, "u")

    @promise(2)
    def test_no_lock_while_listening(self, results: Results) -> None:
        """
        While a bell listens, the same backend goes on storing and reading.
        """
        begun = threading.Event()

        def listen() -> None:
            begun.set()
            bell.wait(2 * PATIENCE)

        def store_and_look() -> bool:
            return results.store_result("t", 1) and results.exists("t")

        with results.backend.watch(["never"]) as bell:
            listening = Started(listen)
            begun.wait()
            time.sleep(0.05)
            try:
                assert Started(store_and_look).answer(patience=RINGS)
            finally:
                bell.wake()
                listening.answer()
