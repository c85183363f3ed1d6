"""
Running tasks: their states, their ends, and workers that vanish.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from ... import Capability, WaitTimeoutError, WorkerLostError
from ... import Results as SyncResults
from ...aio import Results
from ..child import children
from ..promises import core, promise
from ..proof import PATIENCE, has
from ..sides import patiently, pause, until
from .case import Case


class Running(Case):
    """Promises 1 and 11."""

    @promise(1, 4)
    async def test_running(self, results: Results, other: SyncResults) -> None:
        """A block is STARTED, shows progress, and ends in its result."""
        async with results.running("t", name="resize") as task:
            started = other.get_task_meta("t")
            await task.progress(3, 10, note="n")
            progress = other.get_task_meta("t")
            task.result = 42
        meta = await results.get_task_meta("t")

        assert ("STARTED", "resize") == (started.status, started.name)
        info = {"current": 3, "total": 10, "note": "n"}
        assert ("PROGRESS", info) == (progress.status, progress.result)
        assert (True, 42, "resize") == (task.won, meta.result, meta.name)
        assert started.date_started == meta.date_started

    @promise(4)
    async def test_running_fails(self, results: Results) -> None:
        """An exception of the block is stored as FAILURE and passes on."""
        with pytest.raises(KeyError):
            async with results.running("t"):
                raise KeyError("k")

        with pytest.raises(KeyError, match="k"):
            await results.AsyncResult("t").get(timeout=PATIENCE)

    @promise(1)
    async def test_running_comes_second(self, results: Results, other: SyncResults) -> None:
        """A worker that ends second learns that, and the first record stays."""
        async with results.running("t", heartbeat=0.02) as task:
            other.store_result("t", "first")
            await pause(0.1)
            task.result = "second"

        assert task.won is False
        assert "first" == await results.get_result("t")

    @promise(11)
    async def test_heartbeat(self, results: Results) -> None:
        """A task with a heartbeat is not taken for lost, however long it takes."""
        # Two seconds without a sign would be needed to take it for lost.
        async with self.new_results() as worker, worker.running("t", heartbeat=0.7) as task:
            with pytest.raises(WaitTimeoutError):
                await results.wait_for("t", 1)
            beat = await until(lambda: self._second_sign_of_life(results))
            task.result = 1
        meta = await results.get_task_meta("t")

        assert 0.7 == beat["every"]
        assert (1, None) == (meta.result, meta.heartbeat)

    async def _second_sign_of_life(self, results: Results) -> Any:
        beat = (await results.get_task_meta("t")).heartbeat
        return beat if beat and beat["beat"] >= 2 else None

    @core
    @promise(11)
    async def test_lost_worker(self, results: Results, other: SyncResults) -> None:
        """Waiters notice a vanished worker, and its record says so to all."""
        if has(results, Capability.SHARED):
            with children([("vanish", (self.store_url, "t"))]) as (child,):
                child.go()
                assert child.answer() is None
        else:
            fields = {"every": 0.1, "beat": 7}
            await results.store_result("t", None, "STARTED", heartbeat=fields)

        with pytest.raises(WorkerLostError, match="no sign of life"):
            await patiently(results.AsyncResult("t").get())
        assert "FAILURE" == other.get_state("t")
        assert not other.store_result("t", "late")

    @promise(11, 1)
    async def test_stopped_worker(self, results: Results, other: SyncResults) -> None:
        """A worker on a stopped machine is taken for lost, and learns that when it goes on."""
        if not has(results, Capability.SHARED):
            return
        with children([(self._job, (self.store_url, "t", 0.2))]) as (child,):
            child.go()
            await until(lambda: other.get_state("t") == "STARTED")
            os.kill(child.process.pid, signal.SIGSTOP)
            with pytest.raises(WorkerLostError, match="no sign of life"):
                await patiently(results.AsyncResult("t").get())
            os.kill(child.process.pid, signal.SIGCONT)

            assert child.answer() is False
        assert "FAILURE" == other.get_state("t")

    @promise(11, 7)
    async def test_lost_to_a_reader(self, results: Results) -> None:
        """A read-only client notices a lost worker, and leaves its record as it is."""
        await results.store_result("t", None, "STARTED", heartbeat={"every": 0.05, "beat": 1})
        stored = self.raw_document("t")
        async with self.new_results(read_only=True) as reader:
            with pytest.raises(WorkerLostError):
                await patiently(reader.AsyncResult("t").get())

        assert stored == self.raw_document("t")

    @promise(11, 1)
    async def test_late_sign_of_life(self, results: Results) -> None:
        """A worker taken for lost that ends after all learns that it came second."""
        fields = {"every": 0.05, "beat": 1}
        async with self.new_results() as worker, worker.running("t") as task:
            await worker.store_result("t", None, "STARTED", heartbeat=fields)
            with pytest.raises(WorkerLostError):
                await patiently(results.AsyncResult("t").get())
            task.result = "late"

        assert task.won is False
        assert "FAILURE" == await results.get_state("t")
