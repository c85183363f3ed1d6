"""
Huey with a consumer process of its own keeps the contract.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from huey import CancelExecution, MemoryHuey
from support.queue_huey import application
from support.queues import OnRedis

import coatcheck
from coatcheck.testing import QueueContract
from coatcheck_queues.huey import attach

PATIENCE = 30


class HueyQueue(OnRedis):
    """A consumer with four threads."""

    COMMAND = (
        "-m", "huey.bin.huey_consumer", "support.queue_huey.huey", "-w", "4", "-k", "thread",
        "-d", "0.05", "-m", "0.1",
    )  # fmt: skip
    READY = "Huey consumer started"

    def open(self, stack: ExitStack) -> None:
        super().open(stack)
        self.huey, self.results = application(self.broker, self.url)
        stack.callback(self.results.close)

    def task(self, name: str, *arguments: str) -> Any:
        """Return a task, not yet sent."""
        kind = self.huey._registry.string_to_task(f"support.queue_huey.{name}")
        return kind(args=arguments)

    def send(self, job: str, *arguments: str, again: bool = False) -> str:
        task = self.task("again" if again else "once", job, *arguments)
        self.huey.enqueue(task)
        return task.id

    def revoke(self, gate: str) -> str:
        task = self.task("once", "nothing")
        self.huey.revoke_by_id(task.id)
        self.huey.enqueue(task)
        return task.id


@pytest.fixture(scope="module")
def queue(tmp_path_factory):
    """A queue with a consumer for all tests here."""
    with HueyQueue(tmp_path_factory.mktemp("huey")) as queue:
        yield queue


class TestContract(QueueContract):
    """The contract."""

    CANNOT = {"test_acknowledged": "Huey takes a task out of its queue before it runs, for good"}


@pytest.fixture
def huey():
    """An instance that runs each task as it is sent."""
    return MemoryHuey(immediate=True, utc=True)


@pytest.fixture
def results(huey):
    with attach(huey, "memory://tests-huey", heartbeat=None, expect=True) as results:
        yield results


def test_chains(huey, results):
    """Later tasks of a pipeline have the failure of the first."""

    @huey.task()
    def divide(first, second):
        return first / second

    pipeline = divide.s(1, 0).then(divide, 2)
    first, second = huey.enqueue(pipeline)
    for task in (first, second):
        with pytest.raises(ZeroDivisionError):
            results.AsyncResult(task.id).get(timeout=0)


@pytest.mark.parametrize("retries", [0, 1])
def test_cancelled_by_a_hook(huey, results, retries):
    """A task that a hook cancels before it runs is REVOKED, and gives no more signs of life."""

    @huey.pre_execute()
    def cancel(task):
        raise CancelExecution

    @huey.task(retries=retries)
    def nothing():
        """Do nothing."""

    task = nothing()
    with pytest.raises(coatcheck.TaskRevokedError):
        results.AsyncResult(task.id).get(timeout=0)


def test_cancelled_by_itself(huey, results):
    """A task that cancels itself is REVOKED."""

    @huey.task()
    def cancelled():
        raise CancelExecution(retry=False)

    with pytest.raises(coatcheck.TaskRevokedError):
        results.AsyncResult(cancelled().id).get(timeout=0)


def test_reads_do_not_delete(huey, results):
    """`None` is a value, and can be read again."""

    @huey.task()
    def nothing():
        """Do nothing."""

    task = nothing()
    for _ in range(2):
        meta = results.get_task_meta(task.id)
        assert ("SUCCESS", None) == (meta.status, meta.result)
