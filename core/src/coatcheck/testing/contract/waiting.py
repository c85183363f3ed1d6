"""
Waiting for one task: before, during and after the store, and until a deadline.
"""

from __future__ import annotations

import random
import time
from functools import partial

import pytest

from ... import BackendError, Capability, ResultMeta, WaitTimeoutError
from ... import Results as SyncResults
from ...aio import Results
from ..child import children
from ..promises import core, promise
from ..proof import PATIENCE, has
from ..sides import answered, apart, patiently, pause, start, together
from .case import Case


class Waiting(Case):
    """Promises 2 and 3."""

    @promise(2)
    async def test_wait_after_store(self, results: Results, other: SyncResults) -> None:
        """A wait for a present record returns, with any timeout."""
        other.store_result("t", 1)

        for timeout in (None, 0, 0.05, PATIENCE):
            meta = await patiently(answered(partial(results.wait_for, "t", timeout)))
            assert 1 == meta.result

    @core
    @promise(2)
    async def test_wait_before_store(self, results: Results, other: SyncResults) -> None:
        """A later store wakes every one of many waiters."""
        waits = [start(results.wait_for("t", PATIENCE)) for _ in range(20)]
        await pause(0.05)
        other.mark_as_started("t")
        await apart(other.store_result, "t", "now")

        assert ["now"] * 20 == [(await wait).result for wait in waits]

    @promise(2)
    async def test_wait_during_store(self, results: Results, other: SyncResults) -> None:
        """A wait that begins during the store is not missed, however they interleave."""
        for round_ in range(60):
            wait = start(results.wait_for(f"t{round_}", PATIENCE))
            await pause(random.random() * 0.003)  # noqa: S311 - no secret
            if round_ % 2:
                other.store_result(f"t{round_}", round_)
            else:
                await results.store_result(f"t{round_}", round_)

            assert round_ == (await wait).result

    @promise(2)
    async def test_wait_after_forget(self, results: Results, other: SyncResults) -> None:
        """A wait for a forgotten id waits for the new record."""
        other.store_result("t", "old")
        await results.wait_for("t", PATIENCE)
        other.forget("t")
        wait = start(results.wait_for("t", PATIENCE))
        await pause(0.05)
        other.store_result("t", "new")

        assert "new" == (await wait).result

    @promise(2)
    async def test_wait_across_processes(self, results: Results) -> None:
        """Another process wakes a wait."""
        if not has(results, Capability.SHARED):
            return
        with children([("store", (self.store_url, "t", [1, 2]))]) as (child,):
            waits = [start(results.wait_for("t")), start(results.AsyncResult("t").get(PATIENCE))]
            await pause(0.05)
            child.go()

            assert [1, 2] == (await waits[0]).result == await waits[1]
            assert child.answer()

    @promise(2)
    async def test_ring_wakes(self, results: Results, other: SyncResults) -> None:
        """If the store pushes, no wait depends on the safety look."""
        if not has(results, Capability.PUSH):
            return
        async with self.new_results(safety_look=600.0) as patient:
            for round_ in range(20):
                wait = start(patient.wait_for(f"t{round_}"))
                await pause(0.01)
                other.store_result(f"t{round_}", 1)

                assert 1 == (await wait).result

    @promise(2)
    async def test_missed_ring(self) -> None:
        """The safety look finds a record that was written without a ring."""
        async with self.new_results(safety_look=0.2) as watchful:
            wait = start(watchful.wait_for("t", PATIENCE))
            await pause(0.1)
            self.plant("t", b'{"status": "SUCCESS", "result": 1, "task_id": "t"}')

            assert 1 == (await wait).result

    @promise(3)
    @pytest.mark.parametrize("timeout", [0, 0.05, 1])
    async def test_timeout(self, results: Results, timeout: float) -> None:
        """A wait for an absent record ends, not before its time, and names the task."""
        await results.mark_as_started("t")
        began = time.monotonic()
        with pytest.raises(WaitTimeoutError, match="'t'") as caught:
            await patiently(answered(partial(results.wait_for, "t", timeout)))

        assert time.monotonic() - began >= timeout
        assert {"t"} == caught.value.task_ids
        assert caught.value.last_error is None
        assert isinstance(caught.value, TimeoutError)

    @promise(3)
    async def test_timeouts_side_by_side(self, results: Results) -> None:
        """Waits for one task keep their own deadlines."""

        async def wait(timeout: float) -> float:
            began = time.monotonic()
            with pytest.raises(WaitTimeoutError):
                await results.wait_for("t", timeout)
            return time.monotonic() - began

        timeouts = [0, 0.01, 0.1, 0.3]
        waited = await together(map(wait, timeouts))

        assert all(took >= timeout for took, timeout in zip(waited, timeouts, strict=True))

    @promise(3)
    async def test_timeout_looks_once_more(self) -> None:
        """The last look finds a record that was stored silently just before the deadline."""

        async def found(timeout: float) -> ResultMeta | None:
            id_, deadline = f"t{timeout}", time.monotonic() + timeout
            wait = start(patient.wait_for(id_, timeout))
            await pause(timeout / 2)
            self.plant(id_, b'{"status": "SUCCESS", "result": 1, "task_id": "%b"}' % id_.encode())
            in_time = time.monotonic() < deadline
            try:
                return await wait
            except WaitTimeoutError as late:
                if in_time and late.last_error is None:
                    raise
                return None  # the machine is too busy for so short a time

        async with self.new_results(safety_look=600.0) as patient:
            meta = await found(0.5) or await found(2.0) or await found(8.0)
            assert meta is not None
            assert 1 == meta.result

    @promise(3)
    async def test_on_interval(self, results: Results) -> None:
        """A callback of a wait is called repeatedly, and can end the wait."""
        calls = [1, 2, 3]

        with pytest.raises(IndexError):
            await patiently(results.wait_for("t", None, 0.01, calls.pop))
        assert [] == calls
        assert await results.store_result("t", 1)
        assert 1 == (await results.wait_for("t", PATIENCE)).result

    @promise(2)
    async def test_close_during_wait(self) -> None:
        """Closing breaks the waits, and a later call opens anew."""
        results = self.new_results()
        wait = start(results.wait_for("t"))
        await pause(0.1)
        await results.close()

        with pytest.raises(BackendError, match="closed"):
            await wait
        assert await results.store_result("t", 1)
        assert 1 == (await results.wait_for("t", PATIENCE)).result
        await results.close()
        await results.close()
