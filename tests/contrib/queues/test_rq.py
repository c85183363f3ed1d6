"""
RQ with a worker process of its own keeps the contract.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import redis
import rq
from rq.command import send_stop_job_command
from support import queue_rq
from support.queues import OnRedis

import coatcheck
from coatcheck import WorkerLostError, states
from coatcheck.testing import QueueContract
from coatcheck.testing.threads import until

PATIENCE = 30


class RQQueue(OnRedis):
    """A worker that forks for each job."""

    READY = "Listening on"

    def open(self, stack: ExitStack) -> None:
        super().open(stack)
        self.lost = 0
        self.COMMAND = (
            "-m", "rq.cli", "worker", "--worker-class", "support.queue_rq.Worker",
            "--url", self.broker,
        )  # fmt: skip
        self.connection = stack.enter_context(redis.Redis.from_url(self.broker))
        self.jobs = rq.Queue(connection=self.connection)
        self.results = stack.enter_context(coatcheck.by_url(self.url))

    def enqueue(self, function: Any, *arguments: str, **options: Any) -> Any:
        """Send a job, and return coatcheck's handle."""
        job = self.jobs.enqueue(function, *arguments, result_ttl=0, **options)
        return self.results.AsyncResult(job.id)

    def send(self, job: str, *arguments: str, again: bool = False) -> str:
        options = {"retry": rq.Retry(max=1)} if again else {}
        return self.enqueue(queue_rq.work, job, *arguments, **options).task_id

    def revoke(self, gate: str) -> str:
        task_id = self.send("hold", gate)
        until(lambda: self.results.get_state(task_id) == states.STARTED)
        send_stop_job_command(self.connection, task_id)
        return task_id

    def _started(self) -> int:
        return self.jobs.started_job_registry.get_job_count(cleanup=False)

    def unsettled(self) -> int:
        return self._started() - self.lost

    def kill(self) -> None:
        self.stop()
        self.lost = self._started()
        self.start()


@pytest.fixture(scope="module")
def queue(tmp_path_factory):
    """A queue with a worker for all tests here."""
    with RQQueue(tmp_path_factory.mktemp("rq")) as queue:
        yield queue


class TestContract(QueueContract):
    """The contract."""


def test_the_process_of_a_job_is_killed(queue):
    """The worker tells at once; a job that is tried again was RETRY before."""
    with pytest.raises(WorkerLostError, match="killed"):
        queue.enqueue(queue_rq.killed).get(timeout=PATIENCE)

    handle = queue.enqueue(queue_rq.killed, retry=rq.Retry(max=1))
    with pytest.raises(WorkerLostError):
        handle.get(timeout=PATIENCE)
    assert "RETRY" in queue.recorder.states(handle.task_id)


def test_a_job_returns_retry(queue):
    """It is tried again, and fails in the end."""
    handle = queue.enqueue(queue_rq.returns_retry)
    with pytest.raises(RuntimeError, match="Retry"):
        handle.get(timeout=PATIENCE)

    assert "RETRY" in queue.recorder.states(handle.task_id)
