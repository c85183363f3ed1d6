"""
Dramatiq with a worker process of its own keeps the contract, and its own messages see the same.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import pytest
from dramatiq.results import ResultFailure, ResultMissing, ResultTimeout
from support.queue_dramatiq import application
from support.queues import OnRedis

from coatcheck.testing import QueueContract

PATIENCE = 30


class DramatiqQueue(OnRedis):
    """One worker process, and the process that watches it."""

    COMMAND = (
        "-m", "dramatiq", "support.queue_dramatiq:worker", "--processes", "1", "--threads", "4",
        "--worker-shutdown-timeout", "1000",
    )  # fmt: skip
    READY = "Worker process is ready for action"

    def open(self, stack: ExitStack) -> None:
        super().open(stack)
        self.lost = 0
        self.app, self.backend = application(self.broker, self.url)
        stack.callback(self.backend.results.close)
        stack.callback(self.app.close)

    def message(self, actor: str, *arguments: str, **options: Any) -> Any:
        """Send a message, and return it."""
        return self.app.get_actor(actor).send_with_options(args=arguments, **options)

    def send(self, job: str, *arguments: str, again: bool = False) -> str:
        return self.message("again" if again else "work", job, *arguments).message_id

    def revoke(self, gate: str) -> str:
        message = self.app.get_actor("work").message_with_options(args=("hold", gate), max_age=1)
        return self.app.enqueue(message.copy(message_timestamp=1)).message_id

    def _taken(self) -> int:
        keys = self.server.ask("KEYS", "dramatiq:__acks__.*")
        return sum(self.server.ask("SCARD", key) for key in keys)

    def unsettled(self) -> int:
        return self._taken() - self.lost

    def kill(self) -> None:
        self.stop()
        self.lost = self._taken()
        self.start()


@pytest.fixture(scope="module")
def queue(tmp_path_factory):
    """A queue with a worker for all tests here."""
    with DramatiqQueue(tmp_path_factory.mktemp("dramatiq")) as queue:
        yield queue


class TestContract(QueueContract):
    """The contract."""


def get(queue, message, **how):
    return message.get_result(backend=queue.backend, **how)


def test_results_in_the_form_of_dramatiq(queue, tmp_path):
    """A message has its value, also one that looks like a failure; or the error gives the reason."""
    gate = tmp_path / "gate"
    message = queue.message("work", "hold", str(gate))
    with pytest.raises(ResultMissing):
        get(queue, message)
    with pytest.raises(ResultTimeout):
        get(queue, message, block=True, timeout=50)
    gate.touch()
    assert "released" == get(queue, message, block=True)
    assert "released" == get(queue, message)

    forged = queue.message("work", "value", "like a failure")
    assert {"type": "E", "msg": ""} == get(queue, forged, block=True)["exn"]


def test_failures_in_the_form_of_dramatiq(queue):
    """A failure has its name and message, and the exception is its cause."""
    with pytest.raises(ResultFailure) as caught:
        get(queue, queue.message("work", "fail", "builtin"), block=True, timeout=1000 * PATIENCE)

    assert ("ValueError", "('no paper', 7)") == (
        caught.value.orig_exc_type, caught.value.orig_exc_msg,
    )  # fmt: skip
    assert isinstance(caught.value.__cause__, ValueError)


def test_lives_are_kept_to_the_millisecond(queue):
    """A message may say how long its result lives."""
    message = queue.message("work", "nothing", result_ttl=90_500)
    meta = queue.backend.results.wait_for(message.message_id, timeout=PATIENCE)

    assert 90.5 == pytest.approx((meta.expires_at - meta.date_done).total_seconds(), abs=0.1)


def test_actors_that_store_nothing(queue):
    """Nothing is stored for an actor or a message that stores no results."""
    quiet = queue.message("work", "nothing", store_results=False)
    loud = queue.message("work", "nothing")

    assert get(queue, loud, block=True) is None
    assert [] == queue.recorder.states(quiet.message_id)


def test_expected(queue, monkeypatch):
    """A task is known from the moment it is sent, if that was asked for."""
    monkeypatch.setattr(queue.backend, "expect", True)
    message = queue.app.get_actor("work").send_with_options(args=("nothing",), delay=60_000)

    meta = queue.backend.of(message).meta()
    assert ("PENDING", True) == (meta.status, meta.known)


def test_by_dotted_path(tmp_path):
    """django_dramatiq makes the backend and the middleware of their names."""
    program = f"""
import dramatiq
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django_dramatiq"],
    DRAMATIQ_BROKER={{
        "BROKER": "dramatiq.brokers.stub.StubBroker", "OPTIONS": {{}},
        "MIDDLEWARE": ["coatcheck_queues.dramatiq.Running", "dramatiq.middleware.Retries"],
    }},
    DRAMATIQ_RESULT_BACKEND={{
        "BACKEND": "coatcheck_queues.dramatiq.CoatcheckBackend",
        "BACKEND_OPTIONS": {{"results": "sqlite:///{tmp_path}/results.db"}},
        "MIDDLEWARE_OPTIONS": {{"store_results": True}},
    }},
)
import django; django.setup()
@dramatiq.actor(max_retries=1, min_backoff=10, max_backoff=10)
def divide(first, second): return first / second
broker = dramatiq.get_broker()
worker = dramatiq.Worker(broker, worker_timeout=100)
worker.start()
print(divide.send(6, 3).get_result(block=True))
bad = divide.send(1, 0)
try:
    bad.get_result(block=True)
except dramatiq.results.ResultFailure as error:
    print(error.orig_exc_type, broker.get_results_backend().of(bad).meta().retries)
worker.stop()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )

    assert "2.0\nZeroDivisionError 1\n" == ended.stdout, ended.stderr
