"""
Waits across: a worker of a real Celery wakes ours, and what is stored here wakes Celery's.

Nobody looks in between: every safety look is an hour away, and the server tells who read what.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable

import pytest
from support.monitor import Monitor
from support.real_celery import Sides, worker

import coatcheck
import coatcheck.aio

#: Before the wait, and when it was rung for; and once more where a subscription came in between.
LOOKS = 3
KEY = "celery-task-meta-"


@pytest.fixture(scope="module")
def settings(redis_server):
    """The settings of the worker, and of those who wait."""
    return {
        "result_backend": redis_server.url,
        "broker_url": redis_server.url.removesuffix("/0") + "/5",
        "worker_hijack_root_logger": False,
    }


@pytest.fixture(scope="module")
def side(newest_celery, tmp_path_factory, settings):
    """A process that sends tasks to a worker."""
    directory = tmp_path_factory.mktemp("waiting")
    sides = Sides(newest_celery, directory)
    with worker(newest_celery, settings, directory / "worker"):
        yield sides(**settings)
        sides.stop()


def fresh() -> str:
    """Return a new id."""
    return str(uuid.uuid4())


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def subscribed(redis_server, task_id: str) -> bool:
    """Whether somebody has subscribed to the task."""
    ((_, count),) = redis_server.client.pubsub_numsub(KEY + task_id)
    return count > 0


async def test_a_worker_wakes_a_coroutine(redis_server, settings, side):
    """`await` on a task that a worker of Celery runs ends when the worker publishes."""
    task_id = fresh()
    with redis_server.client as client, Monitor(client) as monitor:
        made = coatcheck.aio.from_celery_config(settings, safety_look=3600)
        async with made as results:
            wait = asyncio.ensure_future(results.AsyncResult(task_id).get(timeout=60))
            await asyncio.to_thread(until, lambda: subscribed(redis_server, task_id))
            await asyncio.to_thread(side.ask, "send", task_id, "tasks.add", [2, 3])
            value = await wait
            polling = results.polling

    assert 5 == value
    assert polling is None
    # One more is the worker's own: it looks before it stores.
    assert monitor.reads(KEY + task_id) <= LOOKS + 1


def test_a_worker_wakes_a_thread(redis_server, settings, side):
    """The same for a thread; a failure is raised."""
    task_id = fresh()
    raised = []

    def wait() -> None:
        try:
            results.AsyncResult(task_id).get(timeout=60)
        except ValueError as error:
            raised.append(error)

    with redis_server.client as client, Monitor(client) as monitor:
        with coatcheck.from_celery_config(settings, safety_look=3600) as results:
            thread = threading.Thread(target=wait)
            thread.start()
            until(lambda: subscribed(redis_server, task_id))
            side.ask("send", task_id, "tasks.fail", ["why"])
            thread.join(60)

    assert ("why",) == raised[0].args
    assert monitor.reads(KEY + task_id) <= LOOKS + 1


async def test_a_worker_wakes_those_who_watch(redis_server, settings, side):
    """The states on the way are seen as the worker publishes them."""
    task_id = fresh()
    seen = []
    async with coatcheck.aio.from_celery_config(settings, safety_look=3600) as results:
        updates = results.AsyncResult(task_id).updates(timeout=60)
        await asyncio.to_thread(side.ask, "send", task_id, "tasks.steps", [3])
        async for meta in updates:
            seen.append((meta.status, meta.info))

    assert ("SUCCESS", 3) == seen[-1]
    assert {"current": 2, "total": 3} in [info for _, info in seen]


async def test_a_worker_wakes_a_wait_for_many(redis_server, settings, side):
    """Many tasks are waited for at once, with one subscription."""
    ids = [fresh() for _ in range(20)]
    async with coatcheck.aio.from_celery_config(settings, safety_look=3600) as results:
        wait = asyncio.ensure_future(results.ResultSet(ids).get(timeout=60))
        await asyncio.to_thread(until, lambda: subscribed(redis_server, ids[-1]))
        for number, task_id in enumerate(ids):
            await asyncio.to_thread(side.ask, "send", task_id, "tasks.add", [number, 1])

        assert list(range(1, 21)) == await wait


@pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
def test_what_is_stored_here_wakes_celery(redis_server, celery, serializer):
    """`celery.result.AsyncResult.get()` ends by what is published here: it does not look again."""
    settings = {
        "result_backend": redis_server.url,
        "result_serializer": serializer,
        "accept_content": [serializer],
    }
    task_id, failed = fresh(), fresh()
    side = celery(**settings)
    with coatcheck.from_celery_config(settings, unsafe_pickle=True) as results:
        with redis_server.client as client, Monitor(client) as monitor:
            side.begin("get", task_id, 60)
            until(lambda: subscribed(redis_server, task_id))
            # It looks once more after it subscribed.
            until(lambda: monitor.reads(KEY + task_id) > 0)
            before = monitor.reads(KEY + task_id)
            results.mark_as_started(task_id, {"pid": 1})
            results.update_state(task_id, "PROGRESS", {"current": 1})
            results.store_result(task_id, {"a": [1]})
            assert {"returns": {"a": [1]}} == side.end()
        assert before == monitor.reads(KEY + task_id)

        side.begin("get", failed, 60)
        until(lambda: subscribed(redis_server, failed))
        results.mark_as_failure(failed, ValueError("why"))
        assert "ValueError" == side.end()["raises"]["$exception"]["qualname"]


def test_what_is_stored_here_wakes_a_group_of_celerys(redis_server, celery):
    """`GroupResult.get()` ends by what is published for its tasks."""
    settings = {"result_backend": redis_server.url}
    ids, group = [fresh(), fresh()], fresh()
    side = celery(**settings)
    with coatcheck.from_celery_config(settings) as results:
        results.save_group(group, ids)
        side.begin("join_group", group, 60)
        until(lambda: subscribed(redis_server, ids[-1]))
        results.store_many({task_id: number for number, task_id in enumerate(ids)})

    assert {"returns": [0, 1]} == side.end()
