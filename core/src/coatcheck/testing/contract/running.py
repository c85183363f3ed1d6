"""
Running tasks: their states, how they end, and workers that vanish.
"""

from __future__ import annotations

import os
import signal
import time

import pytest

from ... import Capability, TaskRevokedError, WaitTimeoutError, WorkerLostError
from ..._results.results import Results
from ..child import children
from ..promises import promise
from ..proof import PATIENCE, has
from ..threads import Started, until
from .case import Case


class Running(Case):
    """
    Promises 1 and 11.
    """

    @promise(1, 4)
    def test_running(self, results: Results, other: Results) -> None:
        """
        A block is STARTED, shows progress, and ends in its result.
        """
        with results.running("t", name="resize") as task:
            started = other.get_task_meta("t")
            task.progress(3, 10, note="n")
            progress = other.get_task_meta("t")
            task.result = 42
        meta = other.get_task_meta("t")

        assert ("STARTED", "resize") == (started.status, started.name)
        info = {"current": 3, "total": 10, "note": "n"}
        assert ("PROGRESS", info) == (progress.status, progress.result)
        assert (True, 42, "resize") == (task.won, meta.result, meta.name)
        assert started.date_started == meta.date_started

    @promise(4)
    def test_running_fails(self, results: Results) -> None:
        """
        An exception of the block makes FAILURE and goes on.
        """
        with pytest.raises(KeyError), results.running("t"):
            raise KeyError("k")

        with pytest.raises(KeyError, match="k"):
            results.AsyncResult("t").get(timeout=5)

    @promise(4)
    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_running_is_broken_off(self, results: Results, error: type[BaseException]) -> None:
        """
        An interrupted block is REVOKED, and the interruption goes on.
        """
        with pytest.raises(error), results.running("t"):
            raise error

        with pytest.raises(TaskRevokedError, match=error.__name__):
            results.AsyncResult("t").get(timeout=5)

    @promise(1)
    def test_running_comes_second(self, results: Results, other: Results) -> None:
        """
        Who ends second hears of it, and the first record stays.
        """
        with results.running("t", heartbeat=0.02) as task:
            other.store_result("t", "first")
            time.sleep(0.1)
            task.result = "second"

        assert task.won is False
        assert "first" == results.get_result("t")

    @promise(11)
    def test_heartbeat(self, results: Results, other: Results) -> None:
        """
        A task that gives signs of life is not lost, however long it takes.
        """
        # Two seconds without a sign would be needed to take it for lost.
        with other.running("t", heartbeat=0.7) as task:
            with pytest.raises(WaitTimeoutError):
                results.wait_for("t", 1)
            beat = results.get_task_meta("t").heartbeat
            task.result = 1

        assert beat is not None
        assert (0.7, True) == (beat["every"], beat["beat"] >= 2)
        assert (1, None) == (results.get_result("t"), results.get_task_meta("t").heartbeat)

    @promise(11)
    def test_lost_worker(self, results: Results, other: Results) -> None:
        """
        A worker that vanished is noticed by who waits, and its record says so to all.
        """
        if has(results, Capability.SHARED):
            with children([("vanish", (self.store_url, "t"))]) as (child,):
                child.go()
                assert child.answer() is None
        else:
            results.store_result("t", None, "STARTED", heartbeat={"every": 0.1, "beat": 7})
        wait = Started(results.AsyncResult("t").get, PATIENCE)

        with pytest.raises(WorkerLostError, match="no sign of life"):
            wait.answer()
        assert "FAILURE" == other.get_state("t")
        assert not other.store_result("t", "late")

    @promise(11, 1)
    def test_stopped_worker(self, results: Results, other: Results) -> None:
        """
        A worker whose machine stood still is taken for lost, and learns of it when it goes on.
        """
        if not has(results, Capability.SHARED):
            return
        with children([("work", (self.store_url, "t", 0.2))]) as (child,):
            child.go()
            until(lambda: other.get_state("t") == "STARTED")
            os.kill(child.process.pid, signal.SIGSTOP)
            wait = Started(results.AsyncResult("t").get, PATIENCE)
            with pytest.raises(WorkerLostError, match="no sign of life"):
                wait.answer()
            os.kill(child.process.pid, signal.SIGCONT)

            assert child.answer() is False
        assert "FAILURE" == other.get_state("t")

    @promise(11, 7)
    def test_lost_to_a_reader(self, results: Results) -> None:
        """
        Who may only read notices a lost worker, and leaves its record as it is.
        """
        results.store_result("t", None, "STARTED", heartbeat={"every": 0.05, "beat": 1})
        stored = self.raw_document("t")
        with self.sync_results(read_only=True) as reader:
            wait = Started(reader.AsyncResult("t").get, PATIENCE)
            with pytest.raises(WorkerLostError):
                wait.answer()

        assert stored == self.raw_document("t")

    @promise(11, 1)
    def test_late_sign_of_life(self, results: Results, other: Results) -> None:
        """
        A worker that was taken for lost and ends after all hears that it came second.
        """
        fields = {"every": 0.05, "beat": 1}
        with other.running("t") as task:
            other.store_result("t", None, "STARTED", heartbeat=fields)
            wait = Started(results.AsyncResult("t").get, PATIENCE)
            with pytest.raises(WorkerLostError):
                wait.answer()
            task.result = "late"

        assert task.won is False
        assert "FAILURE" == other.get_state("t")
