"""
Waiting for one task: before, during and after the store, and until a deadline.
"""

from __future__ import annotations

import random
import time
from functools import partial

import pytest

from ... import BackendError, Capability, ResultMeta, WaitTimeoutError
from ..._results.results import Results
from ..child import children
from ..promises import promise
from ..proof import PATIENCE, has
from ..threads import Started, answered, in_threads
from .case import Case


class Waiting(Case):
    """
    Promises 2 and 3.
    """

    @promise(2)
    def test_wait_after_store(self, results: Results, other: Results) -> None:
        """
        A wait for what is there returns, whatever its timeout.
        """
        other.store_result("t", 1)

        for timeout in (None, 0, 0.05, PATIENCE):
            assert 1 == answered(partial(results.wait_for, "t", timeout)).result

    @promise(2)
    def test_wait_before_store(self, results: Results, other: Results) -> None:
        """
        A wait that began before the store is woken by it, by every one of many waiters.
        """
        waits = [Started(results.wait_for, "t", PATIENCE) for _ in range(20)]
        time.sleep(0.05)
        other.mark_as_started("t")
        other.store_result("t", "now")

        assert ["now"] * 20 == [wait.answer().result for wait in waits]

    @promise(2)
    def test_wait_during_store(self, results: Results, other: Results) -> None:
        """
        A wait that begins while the store takes place is not missed, however they interleave.
        """
        for round_ in range(60):
            wait = Started(results.wait_for, f"t{round_}", PATIENCE)
            time.sleep(random.random() * 0.003)  # noqa: S311 - no secret
            other.store_result(f"t{round_}", round_)

            assert round_ == wait.answer().result

    @promise(2)
    def test_wait_after_forget(self, results: Results, other: Results) -> None:
        """
        A wait for an id that was used before waits for the new record.
        """
        other.store_result("t", "old")
        results.wait_for("t", 5)
        other.forget("t")
        wait = Started(results.wait_for, "t", PATIENCE)
        time.sleep(0.05)
        other.store_result("t", "new")

        assert "new" == wait.answer().result

    @promise(2)
    def test_wait_across_processes(self, results: Results) -> None:
        """
        A wait is woken by another process.
        """
        if not has(results, Capability.SHARED):
            return
        with children([("store", (self.store_url, "t", [1, 2]))]) as (child,):
            wait = Started(results.AsyncResult("t").get, PATIENCE)
            child.go()

            assert [1, 2] == wait.answer()
            assert child.answer()

    @promise(2)
    def test_ring_wakes(self, results: Results, other: Results) -> None:
        """
        Where the store pushes, no wait depends on the safety look.
        """
        if not has(results, Capability.PUSH):
            return
        with self.sync_results(safety_look=600.0) as patient:
            for round_ in range(20):
                wait = Started(patient.wait_for, f"t{round_}", None)
                time.sleep(0.01)
                other.store_result(f"t{round_}", 1)

                assert 1 == wait.answer().result

    @promise(2)
    def test_missed_ring(self, results: Results) -> None:
        """
        What was written without a ring is found by the safety look.
        """
        with self.sync_results(safety_look=0.2) as watchful:
            wait = Started(watchful.wait_for, "t", PATIENCE)
            time.sleep(0.1)
            self.plant("t", b'{"status": "SUCCESS", "result": 1, "task_id": "t"}')

            assert 1 == wait.answer().result

    @promise(3)
    @pytest.mark.parametrize("timeout", [0, 0.05, 1])
    def test_timeout(self, results: Results, timeout: float) -> None:
        """
        A wait for what does not come ends, not before its time, and names the task.
        """
        results.mark_as_started("t")
        start = time.monotonic()
        wait = Started(answered, partial(results.wait_for, "t", timeout))
        with pytest.raises(WaitTimeoutError, match="'t'") as caught:
            wait.answer()

        assert time.monotonic() - start >= timeout
        assert {"t"} == caught.value.task_ids
        assert caught.value.last_error is None
        assert isinstance(caught.value, TimeoutError)

    @promise(3)
    def test_timeouts_side_by_side(self, results: Results) -> None:
        """
        Waits for one task keep each their own deadline.
        """

        def wait(timeout: float) -> float:
            start = time.monotonic()
            with pytest.raises(WaitTimeoutError):
                results.wait_for("t", timeout)
            return time.monotonic() - start

        timeouts = [0, 0.01, 0.1, 0.3]
        waited = in_threads(partial(wait, timeout) for timeout in timeouts)

        assert all(took >= timeout for took, timeout in zip(waited, timeouts, strict=True))

    @promise(3)
    def test_timeout_looks_once_more(self, results: Results) -> None:
        """
        What was stored without a ring just before the deadline is found by the last look.
        """

        def found(timeout: float) -> ResultMeta | None:
            id_, deadline = f"t{timeout}", time.monotonic() + timeout
            wait = Started(patient.wait_for, id_, timeout)
            time.sleep(timeout / 2)
            self.plant(id_, b'{"status": "SUCCESS", "result": 1, "task_id": "%b"}' % id_.encode())
            in_time = time.monotonic() < deadline
            try:
                meta: ResultMeta = wait.answer()
            except WaitTimeoutError as late:
                if in_time and late.last_error is None:
                    raise
                return None  # the machine is too busy for so short a time
            return meta

        with self.sync_results(safety_look=600.0) as patient:
            meta = next(filter(None, map(found, (0.5, 2.0, 8.0))))
            assert 1 == meta.result

    @promise(3)
    def test_on_interval(self, results: Results) -> None:
        """
        What is called while waiting is called again and again, and can end the wait.
        """
        calls = [1, 2, 3]
        wait = Started(partial(results.wait_for, "t", None, 0.01, calls.pop))

        with pytest.raises(IndexError):
            wait.answer()
        assert [] == calls
        assert results.store_result("t", 1)
        assert 1 == results.wait_for("t", 5).result

    @promise(2)
    def test_close_during_wait(self) -> None:
        """
        Closing breaks the waits, and a later call opens anew.
        """
        results = self.sync_results()
        wait = Started(results.wait_for, "t", None)
        time.sleep(0.1)
        results.close()

        with pytest.raises(BackendError, match="closed"):
            wait.answer()
        assert results.store_result("t", 1)
        assert 1 == results.wait_for("t", 5).result
        results.close()
        results.close()
