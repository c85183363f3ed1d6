"""
Celery's own Redis backend and ours on one server: each reads, and is woken by, what the other stores.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import pytest
from celery import states
from celery.app.task import Context
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult, GroupResult
from support.celery_tasks import Refused

from coatcheck.testing.threads import Started, until

# Celery calls what redis-py has put out of use.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")
WAYS = pytest.mark.parametrize(
    ("writer", "reader"), [("redis", "coatcheck+redis"), ("coatcheck+redis", "redis")]
)
REQUEST = {
    "id": "t",
    "task": "add",
    "args": [1, "ä"],
    "kwargs": {"k": 2},
    "hostname": "celery@host",
    "retries": 1,
    "delivery_info": {"routing_key": "celery"},
    "group": "g",
    "parent_id": "p",
    "stamps": {"stamp": "s"},
    "stamped_headers": ["stamp"],
}


@WAYS
@pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack", "headed"])
def test_records(backend_of, writer, reader, serializer):
    """Value, fields, children and dates are the same, whichever way."""
    conf = {
        "result_serializer": serializer,
        "accept_content": [serializer],
        "result_extended": True,
    }
    writing, reading = backend_of(writer, **conf), backend_of(reader, **conf)
    child = AsyncResult("child", app=writing.app)
    request = Context(REQUEST)
    request.children.append(child)
    writing.store_result("t", {"a": [1, None, "ä"]}, states.SUCCESS, request=request)
    expected, found = (backend.app.AsyncResult("t") for backend in (writing, reading))

    for name in ("result", "state", "traceback", "name", "args", "kwargs", "worker", "retries",
                 "queue", "date_done"):  # fmt: skip
        assert getattr(expected, name) == getattr(found, name), name
    assert ["child"] == [result.id for result in found.children]
    meta = reading.get_task_meta("t")
    assert ("g", "p", "s") == (meta["group_id"], meta["parent_id"], meta["stamp"])
    assert "t" == meta["task_id"]


@WAYS
@pytest.mark.parametrize(
    "value", [b"\x00\xff", datetime(2026, 5, 1, tzinfo=UTC), UUID(int=7), float("inf"), 2**70]
)
def test_values(backend_of, writer, reader, value):
    """What JSON lacks is tagged as kombu does it."""
    backend_of(writer).store_result("t", value, states.SUCCESS)

    assert value == backend_of(reader).get_result("t")


@WAYS
@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("state", [states.FAILURE, states.RETRY, states.REVOKED])
def test_failures(backend_of, writer, reader, serializer, state):
    """Exceptions are the same class with the same arguments."""
    conf = {"result_serializer": serializer, "accept_content": [serializer]}
    error = TaskRevokedError("gone") if state == states.REVOKED else Refused("no", 3)
    backend_of(writer, **conf).store_result("t", error, state, traceback="there")
    found = backend_of(reader, **conf).get_task_meta("t")

    assert (type(error), error.args) == (type(found["result"]), found["result"].args)
    assert (state, "there") == (found["status"], found["traceback"])


@WAYS
def test_exceptions_of_nobody(backend_of, writer, reader):
    """A class that is not imported here is made up, as Celery does it."""
    made = type("Gone", (Exception,), {"__module__": "not.there"})
    backend_of(writer).store_result("t", made("x"), states.FAILURE)
    error = backend_of(reader).get_result("t")

    assert ("Gone", "celery.exceptions", ("x",)) == (
        type(error).__name__, type(error).__module__, error.args,
    )  # fmt: skip


@WAYS
def test_groups(backend_of, writer, reader):
    """Saved groups keep their nesting and their parents."""
    writing, reading = backend_of(writer), backend_of(reader)
    app = writing.app
    parent = AsyncResult("p", app=app)
    inner = GroupResult("inner", [AsyncResult("a", app=app)], app=app)
    result = GroupResult("g", [AsyncResult("b", app=app), inner], parent=parent, app=app)
    result.save(backend=writing)

    assert result == reading.restore_group("g")
    reading.delete_group("g")
    assert writing.restore_group("g") is None


@WAYS
def test_success_stays(backend_of, writer, reader):
    """Neither replaces the other's success."""
    backend_of(writer).store_result("t", 1, states.SUCCESS)
    backend_of(reader).store_result("t", ValueError(), states.FAILURE)

    assert 1 == backend_of(writer).get_result("t")


@WAYS
def test_waits(backend_of, unit_server, writer, reader):
    """A wait on one side is woken by a store on the other, at once."""
    # Ours does not look by itself; Celery's own never does.
    url = f"{reader}://127.0.0.1:{unit_server.port}/0?safety_look=600"
    reading = backend_of(url if reader == "coatcheck+redis" else reader)
    wait = Started(partial(reading.app.AsyncResult("t", backend=reading).get, timeout=60))
    until(lambda: unit_server.ask("PUBSUB", "CHANNELS"))
    time.sleep(0.3)
    backend_of(writer).store_result("t", 579, states.SUCCESS)

    assert 579 == wait.answer()


@WAYS
def test_forget(backend_of, writer, reader):
    """One side deletes what the other stored."""
    backend_of(writer).store_result("t", 1, states.SUCCESS)
    backend_of(reader).forget("t")

    assert states.PENDING == backend_of(writer).get_state("t")
