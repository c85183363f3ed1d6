"""
A real worker of Celery replies to us, and a real client of Celery reads our replies.
"""

from __future__ import annotations

import uuid

import pytest
from support.real_celery import Sides, installed, worker

import coatcheck
import coatcheck.aio
import coatcheck_rpc
from coatcheck.testing.proof import PATIENCE

#: A worker has to start first, and other tests are running.
LONG = 3 * PATIENCE


@pytest.fixture(scope="module")
def celery_python(request):
    """The Python of an environment with the newest Celery."""
    return installed("5.7", request.config.cache.mkdir("celery"))


@pytest.fixture(scope="module")
def settings(rabbitmq):
    """The settings of the worker and of the clients."""
    return {
        "result_backend": "rpc://",
        "broker_url": rabbitmq.broker_url,
        "broker_connection_retry_on_startup": True,
        "worker_hijack_root_logger": False,
    }


@pytest.fixture(scope="module")
def side(celery_python, settings, tmp_path_factory):
    """A process that is a client of Celery."""
    sides = Sides(celery_python, tmp_path_factory.mktemp("side"))
    yield sides(**settings)
    sides.stop()


@pytest.fixture(scope="module")
def working(celery_python, settings, tmp_path_factory):
    """A worker of Celery."""
    with worker(celery_python, settings, tmp_path_factory.mktemp("worker") / "tasks"):
        yield


@pytest.fixture
def mine(settings, queue):
    """Results by the application's settings, with a queue of our own."""
    with coatcheck.from_celery_config(settings, queue=queue) as results:
        yield results


def fresh() -> str:
    """Return a new id."""
    return str(uuid.uuid4())


def test_a_worker_replies_to_us(working, side, mine):
    """
    A task that names our queue is answered there: its value, its failure, and its progress.
    """
    queue = coatcheck_rpc.reply_to(mine)
    added, failed, stepped = fresh(), fresh(), fresh()
    side.ask("send_for", added, "tasks.add", [2, 3], queue)
    assert 5 == mine.AsyncResult(added).get(timeout=LONG)

    side.ask("send_for", failed, "tasks.fail", ["for the test"], queue)
    with pytest.raises(ValueError, match="for the test"):
        mine.AsyncResult(failed).get(timeout=LONG)

    side.ask("send_for", stepped, "tasks.steps", [3], queue)
    seen = [(meta.state, meta.info) for meta in mine.AsyncResult(stepped).updates(timeout=LONG)]
    assert ("SUCCESS", 3) == seen[-1]
    assert {"PROGRESS", "SUCCESS"} == {state for state, _ in seen}


async def test_a_worker_wakes_a_coroutine(working, side, settings, queue):
    """
    The same for asyncio.
    """
    async with coatcheck.aio.from_celery_config(settings, queue=queue) as results:
        task_id = fresh()
        side.ask("send_for", task_id, "tasks.add", [2, 3], await coatcheck_rpc.reply_to(results))

        assert 5 == await results.AsyncResult(task_id).get(timeout=LONG)


@pytest.mark.parametrize("value", [579, None, {"a": [1, "ü"]}, "x" * 100_000])
def test_a_client_reads_what_we_send(side, settings, value):
    """
    Celery's `get()` returns the result that a worker of ours sent.
    """
    task_id, queue = fresh(), side.ask("reply_queue")
    with coatcheck.from_celery_config(settings, reply_to=queue) as replies:
        side.begin("get", task_id, LONG)
        replies.mark_as_started(task_id)
        replies.store_result(task_id, value)

        assert {"returns": value} == side.end()


def test_a_client_reads_a_failure(side, settings):
    """
    Celery's `get()` raises the failure of a worker of ours.
    """
    task_id, queue = fresh(), side.ask("reply_queue")
    with coatcheck.from_celery_config(settings, reply_to=queue) as replies:
        with pytest.raises(KeyError), replies.running(task_id):
            raise KeyError("missing")
        found = side.ask("get", task_id, LONG)["raises"]["$exception"]

    assert ("builtins", "KeyError", {"$tuple": ["missing"]}) == (
        found["module"],
        found["qualname"],
        found["args"],
    )
