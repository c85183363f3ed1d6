"""
Taskiq with a worker process of its own keeps the contract, and its own handles see the same.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from support.queue_taskiq import application
from support.queues import OnRedis
from taskiq.exceptions import ResultGetError

from coatcheck.testing import QueueContract
from coatcheck_queues.taskiq import CoatcheckBackend

PATIENCE = 30


class TaskiqQueue(OnRedis):
    """One worker process, with a manager that starts it again."""

    COMMAND = (
        "-m", "taskiq", "worker", "support.queue_taskiq:worker", "--workers", "1",
        "--max-prefetch", "0", "--log-level", "INFO", "--no-parse",
    )  # fmt: skip
    READY = "Listening started"

    def open(self, stack: ExitStack) -> None:
        super().open(stack)
        self.lost = 0
        self.loop = stack.enter_context(asyncio.Runner())
        self.backend = CoatcheckBackend(self.url)
        self.app = application(self.broker, self.backend)
        self.loop.run(self.app.startup())
        stack.callback(lambda: self.loop.run(self.app.shutdown()))

    def kick(self, task: str, *arguments: Any, **labels: Any) -> Any:
        """Send a task, and return Taskiq's handle."""
        found = self.app.find_task(task)
        assert found is not None
        return self.loop.run(found.kicker().with_labels(**labels).kiq(*arguments))

    def send(self, job: str, *arguments: str, again: bool = False) -> str:
        labels = {"retry_on_error": True, "max_retries": 2} if again else {}
        return self.kick("work", job, list(arguments), **labels).task_id

    def revoke(self, gate: str) -> str:
        return self.kick("cancelled").task_id

    def _pending(self) -> int:
        return self.server.ask("XPENDING", "taskiq", "taskiq")["pending"]

    def unsettled(self) -> int:
        return self._pending() - self.lost

    def kill(self) -> None:
        self.stop()
        self.lost = self._pending()
        self.start()


@pytest.fixture(scope="module")
def queue(tmp_path_factory):
    """A queue with a worker for all tests here."""
    with TaskiqQueue(tmp_path_factory.mktemp("taskiq")) as queue:
        yield queue


class TestContract(QueueContract):
    """The contract."""


def test_results_in_the_form_of_taskiq(queue):
    """Taskiq's own handle has the value, the labels and the time; coatcheck's is awaited by push."""
    task = queue.kick("work", "value", ["text"], color="red")
    result = queue.loop.run(task.wait_result(timeout=PATIENCE, with_logs=True))

    assert ("naïve ✓", "red", None) == (result.return_value, result.labels["color"], result.error)
    assert result.execution_time >= 0
    assert "naïve ✓" == queue.loop.run(queue.backend.of(task).get(timeout=PATIENCE))
    assert "red" == queue.loop.run(queue.backend.of(task.task_id).meta()).extra["labels"]["color"]


def test_failures_in_the_form_of_taskiq(queue):
    """The exception is there with its type; an unknown id is an error."""
    task = queue.kick("work", "fail", ["builtin"])
    result = queue.loop.run(task.wait_result(timeout=PATIENCE))
    assert result.is_err
    assert isinstance(result.error, ValueError)
    assert ("no paper", 7) == result.error.args

    with pytest.raises(ResultGetError):
        queue.loop.run(queue.backend.get_result("no-such-task"))


def test_progress(queue):
    """Progress can be read while the task runs, and after it."""
    task = queue.kick("shown")
    assert "shown" == queue.loop.run(task.wait_result(timeout=PATIENCE)).return_value
    progress = queue.loop.run(task.get_progress())

    assert ("halfway", {"done": 5}) == (progress.state, progress.meta)
    assert ["STARTED", "PROGRESS", "SUCCESS"] == queue.recorder.states(task.task_id)


def test_requeued(queue):
    """A task that sends itself again has the outcome of its last attempt."""
    task = queue.kick("requeued")
    assert "again" == queue.loop.run(task.wait_result(timeout=PATIENCE)).return_value
    assert {"STARTED", "RETRY", "SUCCESS"} >= {*queue.recorder.states(task.task_id)}


def test_expected(queue, monkeypatch):
    """A task is known from the moment it is sent, if that was asked for."""
    monkeypatch.setattr(queue.backend.middleware, "_expect", True)
    task = queue.kick("work", "nothing", [], queue_name="nobody")

    meta = queue.loop.run(queue.backend.of(task).meta())
    assert ("PENDING", True) == (meta.status, meta.known)
