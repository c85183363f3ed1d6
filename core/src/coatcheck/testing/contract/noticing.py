"""
Lost workers without waiters, and results that come too late.
"""

from __future__ import annotations

import logging

import pytest

from ... import (
    Capability,
    UnknownTaskError,
    UnsupportedError,
    WaitTimeoutError,
    WorkerLostError,
)
from ... import Results as SyncResults
from ...aio import Results
from ..promises import promise
from ..proof import PATIENCE, has
from .case import Case

#: The heartbeat of a worker that is gone.
GONE: dict[str, float] = {"every": 0.05, "beat": 1}
#: Part of the warning about a result that came too late.
NOT_STORED = "was not stored"


def said(caplog: pytest.LogCaptureFixture, text: str) -> int:
    """Return how often *text* was logged; drivers and hubs may log other messages meanwhile."""
    return len([message for message in caplog.messages if text in message])


class Noticing(Case):
    """Promises 1, 10 and 11."""

    @promise(11)
    async def test_a_check_of_a_living_worker(self, results: Results, other: SyncResults) -> None:
        """A check ends with the worker's next sign of life."""
        with other.running("t", heartbeat=0.5):
            assert await results.check_alive("t") is True
            assert await results.AsyncResult("t").check_alive() is True
            assert "STARTED" == await results.get_state("t")

    @promise(11)
    async def test_a_check_of_a_lost_worker(self, results: Results, other: SyncResults) -> None:
        """Reads do not notice a lost worker; a check does, and its record says so to all."""
        await results.store_result("t", None, "STARTED", heartbeat=GONE)
        assert "STARTED" == await results.get_state("t")

        assert await results.check_alive("t") is False
        assert "FAILURE" == other.get_state("t")
        with pytest.raises(WorkerLostError, match="no sign of life"):
            other.AsyncResult("t").get(timeout=PATIENCE)
        assert await results.check_alive("t") is False

    @promise(11, 7)
    async def test_a_check_by_a_reader(self, results: Results) -> None:
        """A reader without write access learns of a lost worker, and leaves its record as it is."""
        await results.store_result("t", None, "STARTED", heartbeat=GONE)
        stored = self.raw_document("t")
        async with self.new_results(read_only=True) as reader:
            assert await reader.check_alive("t") is False

        assert stored == self.raw_document("t")

    @promise(11)
    async def test_a_check_that_cannot_tell(self, results: Results) -> None:
        """Without a heartbeat nobody can tell; a task that is over needs no worker."""
        assert await results.check_alive("t") is None
        await results.mark_as_started("t")
        assert await results.check_alive("t") is None
        await results.store_result("t", None, "STARTED", heartbeat={"every": "soon", "beat": 1})
        assert await results.check_alive("t") is None
        await results.store_result("t", 1)
        assert await results.check_alive("t") is False
        assert 1 == await results.get_result("t")

    @promise(11)
    async def test_reaping(self, results: Results, other: SyncResults) -> None:
        """Of several tasks that nobody waits for, those with a lost worker fail, and no others."""
        for task_id in ("lost", "lost too"):
            await results.store_result(task_id, None, "STARTED", heartbeat=GONE)
        await results.mark_as_started("without heartbeat")
        await results.store_result("over", 1)
        with other.running("alive", heartbeat=0.5):
            ids = ["lost", "without heartbeat", "over", "alive", "unknown"]
            assert ["lost"] == [meta.task_id for meta in await results.reap(ids)]
            if has(results, Capability.SCAN):
                assert ["lost too"] == [meta.task_id for meta in await results.reap()]
                assert [] == await results.reap()
            else:
                with pytest.raises(UnsupportedError):
                    await results.reap()
            assert "STARTED" == await results.get_state("alive")

        assert "FAILURE" == other.get_state("lost")
        assert "STARTED" == other.get_state("without heartbeat")

    @promise(11, 7)
    async def test_reaping_by_a_reader(self, results: Results) -> None:
        """A reader without write access learns which workers are lost, and records nothing."""
        await results.store_result("t", None, "STARTED", heartbeat=GONE)
        stored = self.raw_document("t")
        async with self.new_results(read_only=True) as reader:
            assert ["t"] == [meta.task_id for meta in await reader.reap(["t"])]

        assert stored == self.raw_document("t")

    @promise(11)
    async def test_the_age_of_a_heartbeat(self, results: Results, other: SyncResults) -> None:
        """The last sign of life has an age, unless there was none."""
        await results.mark_as_started("without heartbeat")
        with other.running("t", heartbeat=0.5):
            age = (await results.get_task_meta("t")).heartbeat_age

        assert age is not None
        assert 0 <= age < PATIENCE
        for task_id in ("t", "without heartbeat", "unknown"):
            assert (await results.get_task_meta(task_id)).heartbeat_age is None

    @promise(1)
    async def test_running_comes_too_late(
        self, results: Results, other: SyncResults, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A block whose task is over learns that at its start, and runs."""
        caplog.set_level(logging.WARNING, "coatcheck")
        other.store_result("t", "first")
        async with results.running("t") as task:
            assert task.won is False
            task.result = "second"

        assert task.won is False
        assert "first" == await results.get_result("t")
        assert 1 == said(caplog, "'t' is over already")

    @promise(1)
    async def test_a_store_that_comes_too_late(
        self, results: Results, other: SyncResults, caplog: pytest.LogCaptureFixture
    ) -> None:
        """
        A result that is not stored is logged once, unless the caller chose its own protection.
        """
        caplog.set_level(logging.WARNING, "coatcheck")
        other.store_result("t", "first")
        assert not await results.expect("t")
        assert not await results.store_result("t", "second", protect={"SUCCESS"})
        assert 0 == said(caplog, NOT_STORED)
        assert [False, False] == [await results.store_result("t", n) for n in range(2)]
        assert {"t": False, "new": True} == await results.store_many({"t": 3, "new": 4})

        assert 1 == said(caplog, NOT_STORED) == said(caplog, f"task 't' {NOT_STORED}")

    @promise(10)
    async def test_nothing_from_other_processes(self, results: Results) -> None:
        """If only one process sees the records, a wait for an unknown task says so."""
        await results.mark_as_started("known")
        said = []
        for kind, call in (
            (WaitTimeoutError, lambda: results.AsyncResult("t").get(timeout=0)),
            (WaitTimeoutError, lambda: anext(results.as_completed(["known", "t"], timeout=0))),
            (UnknownTaskError, lambda: results.AsyncResult("t").get(missing="raise")),
            (WaitTimeoutError, lambda: results.AsyncResult("known").get(timeout=0)),
        ):
            with pytest.raises(kind) as caught:
                await call()
            said.append("seen by one process only" in str(caught.value))

        alone = not has(results, Capability.SHARED)
        assert [alone, alone, alone, False] == said
