"""
APScheduler 3 in a process of its own keeps the contract, as far as it can; and on an event loop.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from support.queues import OnRedis

from coatcheck.testing import QueueContract
from coatcheck_queues.apscheduler import attach, run_id

PATIENCE = 30


class APSchedulerQueue(OnRedis):
    """A scheduler with a pool of threads."""

    COMMAND = ("-m", "support.queue_apscheduler")
    READY = "ready"

    def send(self, job: str, *arguments: str, again: bool = False, late: bool = False) -> str:
        job_id = uuid.uuid4().hex
        when = datetime.now(UTC) - timedelta(days=int(late))
        self.server.ask("RPUSH", "jobs", json.dumps([job_id, when.isoformat(), [job, *arguments]]))
        return run_id(job_id, when)

    def revoke(self, gate: str) -> str:
        return self.send("nothing", late=True)


@pytest.fixture(scope="module")
def queue(tmp_path_factory):
    """A scheduler for all tests here."""
    with APSchedulerQueue(tmp_path_factory.mktemp("apscheduler")) as queue:
        yield queue


class TestContract(QueueContract):
    """The contract. A run that is missed is REVOKED."""

    CANNOT = {
        "test_retry": "APScheduler does not try a run again",
        "test_last_retry": "APScheduler does not try a run again",
        "test_acknowledged": "APScheduler is no queue: there is nothing to acknowledge",
    }


async def test_on_an_event_loop():
    """A scheduler on a loop stores without blocking it."""
    scheduler = AsyncIOScheduler(timezone=UTC)
    with attach(scheduler, "memory://tests-apscheduler", heartbeat=None) as results:
        scheduler.start()
        when = datetime.now(UTC) + timedelta(seconds=0.05)

        async def double(number):
            return 2 * number

        scheduler.add_job(double, "date", run_date=when, args=[4], id="double")
        meta = await asyncio.to_thread(results.wait_for, run_id("double", when), PATIENCE)
        scheduler.shutdown()
    assert (8, "double") == (meta.get(), meta.name)
