"""
Procrastinate with a worker process of its own keeps the contract, with jobs and results in one PostgreSQL.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from support.queue_procrastinate import application
from support.queues import Served
from support.sql import PostgreSQLServer

from coatcheck import ConfigurationError, TaskRevokedError, aio, states
from coatcheck.testing import QueueContract
from coatcheck.testing.proxy import Proxy
from coatcheck.testing.threads import until
from coatcheck_queues.procrastinate import JobResults

PATIENCE = 30


class ProcrastinateQueue(Served):
    """A worker in a process; jobs and results are in one database."""

    COMMAND = ("-m", "support.queue_procrastinate")
    READY = "Starting worker"

    def open(self, stack: ExitStack) -> None:
        self.lost = 0
        self.server = stack.enter_context(PostgreSQLServer())
        self.proxy = stack.enter_context(Proxy("127.0.0.1", self.server.port))
        self.url = self.server.url
        self.loop = stack.enter_context(asyncio.Runner())
        self.app, self.jobs = application(self.url, self.url)
        stack.callback(lambda: self.loop.run(self.jobs.results.close()))
        stack.callback(self.jobs.sync.close)
        self.loop.run(self.app.connector.open_async())
        stack.callback(lambda: self.loop.run(self.app.connector.close_async()))
        self.loop.run(self.app.schema_manager.apply_schema_async())

    def environ(self) -> dict[str, str]:
        through = self.url.replace(f":{self.server.port}/", f":{self.proxy.port}/")
        return {
            "TESTS_BROKER": self.url,
            "TESTS_STORE": through,
            "TESTS_RECORD": str(self.directory / "record"),
        }

    def defer(self, task: str, **arguments: Any) -> aio.AsyncResult[Any]:
        """Defer a job, and return coatcheck's handle."""
        return self.loop.run(self.jobs.defer_async(self.app.tasks[task], **arguments))

    def send(self, job: str, *arguments: str, again: bool = False) -> str:
        task = "again" if again else "work"
        return self.defer(task, job=job, arguments=list(arguments)).task_id

    def revoke(self, gate: str, task: str = "sleeping") -> str:
        handle = self.defer(task)
        until(lambda: self.jobs.sync.get_state(handle.task_id) == states.STARTED)
        job_id = int(handle.task_id.rpartition("-")[2])
        self.loop.run(self.app.job_manager.cancel_job_by_id_async(job_id, abort=True))
        return handle.task_id

    def _doing(self) -> int:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'"
        return self.server.execute(query)[0][0]

    def unsettled(self) -> int:
        return self._doing() - self.lost

    def kill(self) -> None:
        self.stop()
        self.lost = self._doing()
        self.start()


@pytest.fixture(scope="module")
def queue(tmp_path_factory):
    """A queue with a worker for all tests here."""
    with ProcrastinateQueue(tmp_path_factory.mktemp("procrastinate")) as queue:
        yield queue


class TestContract(QueueContract):
    """The contract."""


def test_a_job_that_asks_whether_it_is_aborted(queue):
    """A job that ends itself because it was told to is REVOKED, too."""
    handle = queue.jobs.sync.AsyncResult(queue.revoke("", "asking"))
    with pytest.raises(TaskRevokedError):
        handle.get(timeout=PATIENCE)


def test_deferred_in_synchronous_code(queue):
    """A job is known from the moment it is deferred, and its handle waits for it."""
    task = queue.app.tasks["work"].configure(queue="nobody", schedule_in={"days": 1})
    job = queue.loop.run(queue.jobs.defer_async(task, job="nothing", arguments=[]))
    meta = queue.jobs.sync.get_task_meta(job.task_id)
    assert ("PENDING", True) == (meta.status, meta.known)

    app, jobs = application(queue.url, queue.url)
    with app.open(), jobs.sync:
        handle = jobs.defer(app.tasks["work"], job="value", arguments=["yes"])
        assert handle.get(timeout=PATIENCE) is True
        assert ("work", "default") == (handle.meta().name, handle.meta().queue)


def test_results_without_a_url_have_one_side():
    """Synchronous code is told that the URL is missing."""
    with pytest.raises(ConfigurationError, match="URL"):
        JobResults(aio.by_url("memory://tests")).sync  # noqa: B018 - the property raises
