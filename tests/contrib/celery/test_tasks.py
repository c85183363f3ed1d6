"""
What a worker does with tasks, and what the application reads of it: on stores that push and that do not.
"""

from __future__ import annotations

import time

import pytest
from celery import states
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeoutError
from kombu.exceptions import EncodeError
from support.celery_tasks import Refused

WAIT = 30
pytestmark = pytest.mark.parametrize(
    "running", ["prefork-redis", "solo-sqlite", "threads-files"], indirect=True
)


@pytest.mark.parametrize("value", [579, None, "text", [1, [2]], {"a": {"b": 1.5}}, b"\x00\xff", ""])
def test_value(t, value):
    """A value comes back as it is."""
    assert value == t.same.delay(value).get(timeout=WAIT)


def test_failure(t):
    """An exception is raised as the application's own class, with its arguments."""
    result = t.fail.delay("no", 3)
    with pytest.raises(Refused) as caught:
        result.get(timeout=WAIT)

    assert ("no", 3) == caught.value.args
    assert "Refused" in result.traceback
    assert states.FAILURE == result.state
    assert result.failed()
    assert isinstance(result.get(propagate=False), Refused)


def test_fields(t, app):
    """What `result_extended` stores is read."""
    result = t.add.delay(1, y=2)
    result.get(timeout=WAIT)
    fresh = app.AsyncResult(result.id)

    assert ("add", [1], {"y": 2}) == (fresh.name, fresh.args, fresh.kwargs)
    assert fresh.worker.startswith("celery@")
    assert 0 == fresh.retries
    assert "celery" == fresh.queue
    assert fresh.date_done.tzinfo is not None
    assert [] == fresh.children


def test_children(t):
    """The results of tasks that a task started are its children."""
    result = t.children.delay(3)
    ids = result.get(timeout=WAIT)

    assert ids == [child.id for child in result.children]
    assert [0, 2, 4] == [child.get(timeout=WAIT) for child in result.children]
    assert [ids, 0, 2, 4] == [value for _, value in result.collect(timeout=WAIT)]


def test_states_as_they_come(t):
    """`on_message` gets the metas of states that the application made up, then the ready one."""
    seen = []
    result = t.progress.delay(3)

    assert "done" == result.get(timeout=WAIT, on_message=seen.append)
    assert {"SUCCESS", "half way"} <= {meta["status"] for meta in seen}
    assert "SUCCESS" == seen[-1]["status"]
    assert {result.id} == {meta["task_id"] for meta in seen}


def test_started(t):
    """A running task is STARTED, and says where."""
    result = t.sleep.delay(1)
    while result.state == states.PENDING:
        time.sleep(0.02)

    assert states.STARTED == result.state
    assert {"pid", "hostname"} == set(result.info)
    assert 1 == result.get(timeout=WAIT)


def test_failure_by_hand(t):
    """A FAILURE that a task stores of itself, as a dict, is the exception it describes."""
    with pytest.raises(Refused, match="by hand"):
        t.own_failure.delay().get(timeout=WAIT)


def test_retry(t):
    """A task that is retried ends with what it returns at last."""
    result = t.retried.delay()

    assert 2 == result.get(timeout=WAIT)


def test_reject(t):
    """A rejected task fails where Celery says so, since 5.7."""
    result = t.reject.delay()
    with pytest.raises((Exception, CeleryTimeoutError)):
        result.get(timeout=2)


def test_unencodable(t):
    """A value that the serializer lacks is a failure that says so."""
    with pytest.raises(EncodeError, match="set"):
        t.unencodable.delay().get(timeout=WAIT)


def test_timeout(t):
    """A wait ends when it was to, and the next one goes on."""
    result = t.sleep.delay(1)
    with pytest.raises(CeleryTimeoutError):
        result.get(timeout=0.2)
    with pytest.raises(CeleryTimeoutError):
        result.get(timeout=0)

    assert 1 == result.get(timeout=WAIT)
    assert 1 == result.get(timeout=0)


def test_on_interval(t, app):
    """`on_interval` is called while a wait goes on, and ends it by raising."""
    calls = []
    result = t.sleep.delay(0.5)
    app.backend.wait_for(
        result.id, timeout=WAIT, interval=0.05, on_interval=lambda: calls.append(1)
    )
    with pytest.raises(ZeroDivisionError):
        app.AsyncResult("never").get(timeout=WAIT, interval=0.01, on_interval=lambda: 1 / 0)

    assert len(calls) > 1


def test_forget(t, app):
    """A forgotten result is pending, as are unknown ones; `exists` tells them."""
    result = t.add.delay(1, 1)
    result.get(timeout=WAIT)
    assert app.backend.task_result_exists(result.id)
    result.forget()

    assert states.PENDING == app.AsyncResult(result.id).state
    assert not app.backend.task_result_exists(result.id)


def test_ignored(t, app):
    """Of a task whose result is ignored nothing is stored."""
    result = t.ignored.delay(1)
    t.add.delay(1, 1).get(timeout=WAIT)

    assert result.get() is None
    assert states.PENDING == app.AsyncResult(result.id).state


def test_revoked(t):
    """A task that is revoked before it starts raises that."""
    result = t.add.apply_async((1, 1), countdown=1)
    result.revoke()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=WAIT)

    assert states.REVOKED == result.state


def test_expired(t):
    """A task that nobody ran in time is revoked."""
    with pytest.raises(TaskRevokedError, match="expired"):
        t.add.apply_async((1, 1), countdown=0.5, expires=0.1).get(timeout=WAIT)


def test_then(t):
    """A callback is called with the result once that is known here."""
    seen = []
    result = t.add.delay(1, 2)
    result.then(lambda ready: seen.append(ready.result))
    result.get(timeout=WAIT)

    assert [3] == seen
