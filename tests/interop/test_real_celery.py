"""
What is stored here is read by a real Celery, and what that stores is read here.

Celery 5.7 and 5.4 run in environments of their own, see `support.real_celery`.
"""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from support import verdicts
from support.celery import same

import coatcheck
import coatcheck.aio
from coatcheck import Failure

#: Celery refuses to read more than it is told to.
ACCEPT = ["json", "msgpack", "pickle"]
PLAIN: list[Any] = [
    None, True, 0, -(2**53) - 1, 1.5, 1e300, "", "text", "naïve — 日本語 🎉", [], [1, [2, None]], {},
    {"a": {"b": [True]}}, {"status": "FAILURE"}, "x" * 100_000,
]  # fmt: skip
TAGGED: list[Any] = [
    b"text", b"\xff\x00", datetime(2024, 2, 29, 12, 30, 45, 123456),
    datetime(2024, 2, 29, 12, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=9))),
    date(2024, 2, 29), time(3, 4, 5), Decimal("1.50"), uuid.UUID(int=5), [{"k": Decimal(1)}],
    2**70, float("inf"), float("nan"),
]  # fmt: skip
VALUES = {
    "json": [*PLAIN, *TAGGED],
    "msgpack": [*PLAIN, b"text", b"\xff\x00", float("inf")],
    "pickle": [*PLAIN, *TAGGED, (1, (2,)), {1: "a"}],
}


def fresh() -> str:
    """Return a new id."""
    return str(uuid.uuid4())


class Both:
    """One store, seen by coatcheck and by Celery with the same settings."""

    def __init__(self, celery: Any, url: str, serializer: str) -> None:
        self._celery = celery
        self.serializer = serializer
        self.settings = {
            "result_backend": url,
            "result_serializer": serializer,
            "accept_content": ACCEPT,
        }
        self.results = coatcheck.from_celery_config(self.settings, unsafe_pickle=True)

    def celery(self, **more: Any) -> Any:
        """Return a process with Celery, for these settings and *more*."""
        return self._celery(**self.settings, **more)

    def read(self, task_id: str, **more: Any) -> Any:
        """Return what Celery reads."""
        return self.celery(**more).ask("read", task_id)


@pytest.fixture(params=list(VALUES))
def both(celery, place, request):
    """Each serializer in each store."""
    made = Both(celery, place, request.param)
    with made.results:
        yield made


def alike(theirs: Any, ours: Any) -> bool:
    """Whether Celery's value, in tags, is ours."""
    return verdicts.compared(theirs, ours, {"celery": "5.7.0"}) == verdicts.SAME


def listed(value: Any) -> Any:
    """Return *value* as JSON and msgpack keep it: with lists in place of tuples."""
    if isinstance(value, (list, tuple)):
        return [listed(item) for item in value]
    return value


def test_values(both):
    """A value arrives as it was stored; a tuple may become a list."""
    for value in VALUES[both.serializer]:
        task_id = fresh()
        assert both.results.store_result(task_id, value)
        read = both.read(task_id)
        meta = both.results.get_task_meta(task_id)

        assert alike(read["result"], value), value
        assert same(value, meta.result)
        assert ("SUCCESS", True, True, False) == tuple(
            map(read.get, ("state", "ready", "successful", "failed"))
        )
        assert verdicts.moment(read["date_done"]) == about(both, meta.date_done)
        assert read["traceback"] is None
        assert read["children"] is None
    # Once: up to 5.6 this takes Celery a second, though the task is ready.
    assert {"returns": read["result"]} == both.celery().ask("get", task_id, 5)


def about(both: Both, moment: datetime) -> datetime:
    """Return *moment* as the store keeps it."""
    if "mongodb" in both.settings["result_backend"]:
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return moment


class Oops(ValueError):
    """An exception that no reader knows."""

    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"code {code}", hint)
        self.code = code


FAILURES = [
    ValueError("x"), KeyError("k"), OSError(2, "No such file"), ValueError(), TypeError(1, [2], None),
    ZeroDivisionError("division by zero"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"),
    RuntimeError("naïve"), TimeoutError("remote"),
]  # fmt: skip


@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_failures(both, error):
    """A failure is raised by Celery as what it was, with its arguments and the traceback."""
    if both.serializer == "msgpack" and isinstance(error, UnicodeDecodeError):
        error = UnicodeDecodeError("ascii", b"\xfe", 0, 1, "why")
    task_id = fresh()
    try:
        raise error
    except Exception as raised:
        assert both.results.mark_as_failure(task_id, raised)
    read = both.read(task_id)
    got = both.celery().ask("get", task_id, 5)["raises"]["$exception"]

    assert "FAILURE" == read["state"]
    assert (True, False, True) == (read["ready"], read["successful"], read["failed"])
    for found in (read["result"]["$exception"], got):
        assert (type(error).__module__, type(error).__name__) == (
            found["module"],
            found["qualname"],
        )
        assert alike(found["args"], error.args)
    assert both.results.get_traceback(task_id) == read["traceback"]
    assert f"{type(error).__name__}" in read["traceback"].splitlines()[-1]
    assert verdicts.moment(read["date_done"]) is not None


def test_a_failure_of_an_unknown_class(both):
    """An exception whose class Celery's process lacks has its name and its arguments there."""
    task_id = fresh()
    both.results.mark_as_failure(task_id, Oops(5, hint="h"), traceback="Traceback text")
    read = both.read(task_id)

    found = read["result"]["$exception"]
    assert ("Oops", ["code 5", "h"]) == (found["qualname"], found["args"]["$tuple"])
    assert "Traceback text" == read["traceback"]


def test_a_revoked_task(both):
    """Celery has an exception of its own for a revoked task."""
    task_id = fresh()
    both.results.mark_as_revoked(task_id, "terminated")
    read = both.read(task_id)
    got = both.celery().ask("get", task_id, 5)["raises"]["$exception"]

    assert ("REVOKED", True) == (read["state"], read["ready"])
    assert ("celery.exceptions", "TaskRevokedError") == (got["module"], got["qualname"])
    assert ["terminated"] == got["args"]["$tuple"]


def test_unready_states(both):
    """States and their infos are read while a task is under way; none of them is ready."""
    task_id = fresh()
    results = both.results
    results.expect(task_id)
    assert ("PENDING", None) == states(both, task_id)
    results.mark_as_started(task_id, {"pid": 1, "hostname": "h"})
    assert ("STARTED", {"pid": 1, "hostname": "h"}) == states(both, task_id)
    results.update_state(task_id, "PROGRESS", {"current": 3, "total": 10})
    assert ("PROGRESS", {"current": 3, "total": 10}) == states(both, task_id)
    results.update_state(task_id, "ALMOST_THERE", [1])
    assert ("ALMOST_THERE", [1]) == states(both, task_id)
    results.mark_as_retry(task_id, ValueError("again"), traceback="Traceback text")
    state, info = states(both, task_id)
    assert ("RETRY", "ValueError") == (state, info["$exception"]["qualname"])
    results.mark_as_retry(task_id)
    assert ("RETRY", None) == states(both, task_id)
    assert "Traceback text" != both.read(task_id)["traceback"]


def states(both: Both, task_id: str) -> tuple[str, Any]:
    """Return state and info, of a task that is not ready."""
    read = both.read(task_id)
    assert (False, None) == (read["ready"], read["date_done"])
    return read["state"], read["result"]


FIELDS: dict[str, Any] = {
    "name": "app.add", "args": [1, {"a": 2}], "kwargs": {"k": "v"}, "worker": "w@host", "retries": 2,
    "queue": "q",
}  # fmt: skip


def test_fields(both):
    """Name, arguments, worker, queue, parent and group arrive, whatever Celery itself would store."""
    task_id = fresh()
    both.results.store_result(task_id, 1, **FIELDS, parent_id="p", group_id="g")
    read = both.read(task_id, result_extended=True)
    assert {name: read[name] for name in FIELDS} == FIELDS
    # In these Celery shows only what it stores.
    if not both.settings["result_backend"].startswith(("mongodb", "db+")):
        assert read == both.read(task_id)
    meta = both.results.get_task_meta(task_id)
    assert ("p", "g") == (meta.parent_id, meta.group_id)


def test_a_record_without_fields(both):
    """A record that has none of them is read, by an application that stores them all too."""
    task_id = fresh()
    both.results.store_result(task_id, 1)
    read = both.read(task_id, result_extended=True)

    assert [1, *[None] * len(FIELDS)] == [read["result"], *(read[name] for name in FIELDS)]


def test_children(both):
    """Children, of which some are groups, are found by Celery's handles."""
    task_id, child, group, members = fresh(), fresh(), fresh(), [fresh(), fresh()]
    nested = [[group, None], [[[member, None], None] for member in members]]
    children = [[[child, None], None], nested]
    both.results.store_result(task_id, 1, children=children)

    assert [child, [group, members]] == verdicts.ids(both.read(task_id)["children"])
    assert children == both.results.get_task_meta(task_id).children


def test_groups(both):
    """A group saved here is restored and joined by Celery; one saved there, here."""
    ours, theirs = fresh(), fresh()
    ids = [fresh() for _ in range(3)]
    for number, task_id in enumerate(ids):
        both.results.store_result(task_id, number)
    side = both.celery()
    both.results.ResultSet(ids).save(ours)
    side.ask("save_group", theirs, ids)

    assert ids == verdicts.members(side.ask("restore_group", ours))[0]
    assert {"returns": [0, 1, 2]} == side.ask("join_group", ours, 5)
    assert ids == both.results.restore_group(theirs).task_ids
    assert [0, 1, 2] == both.results.restore_group(theirs).get(timeout=5)
    assert both.results.delete_group(ours)
    assert side.ask("restore_group", ours) is None


def test_what_celery_stores(both):
    """What this Celery stores is read here, with any result and failure."""
    side = both.celery()
    for value in [None, 1, 1.5, "naïve", [1, [2]], {"a": {"b": None}}]:
        task_id = fresh()
        side.ask("store", task_id, value)
        meta = both.results.get_task_meta(task_id)
        assert ("SUCCESS", value) == (meta.status, meta.result)
        assert verdicts.moment(side.ask("read", task_id)["date_done"]) == meta.date_done
    for name, args in [("ValueError", ["x"]), ("KeyError", ["k"]), ("Unknown", ["a", 2])]:
        task_id = fresh()
        side.ask("fail", task_id, name, args)
        failure = both.results.get_task_meta(task_id).failure
        assert (name, tuple(args)) == (failure.qualname, failure.args)
        assert "Traceback text" == failure.traceback
    task_id = fresh()
    side.ask("store", task_id, {"current": 1}, "PROGRESS")
    assert {"current": 1} == both.results.get_task_meta(task_id).info


def test_who_replaces_whom(both):
    """A ready record of Celery stays; of ours Celery spares a SUCCESS."""
    task_id, failed, done = fresh(), fresh(), fresh()
    side = both.celery()
    side.ask("store", task_id, "theirs")
    side.ask("fail", failed, "ValueError", ["theirs"])
    both.results.store_result(done, "ours")
    side.ask("store", done, "theirs")

    assert not both.results.store_result(task_id, "ours")
    assert not both.results.store_result(failed, "ours")
    assert both.results.store_result(failed, "ours", protect={"SUCCESS"})
    assert ["theirs", "ours"] == [
        both.results.get_result(task_id), both.results.get_result(failed)
    ]  # fmt: skip
    if side.version >= "5.7" or "mongodb" not in both.settings["result_backend"]:
        assert "ours" == both.results.get_result(done)


def test_forgetting(both):
    """What one side forgets, the other does not know."""
    ours, theirs = fresh(), fresh()
    side = both.celery()
    both.results.store_result(ours, 1)
    side.ask("store", theirs, 1)
    side.ask("forget", ours)
    assert both.results.forget(theirs)

    assert not both.results.exists(ours)
    assert "PENDING" == side.ask("read", theirs)["state"]


async def test_under_asyncio(both):
    """The side for asyncio stores the same."""
    task_id, failed, theirs, group = (fresh() for _ in range(4))
    made = coatcheck.aio.from_celery_config(both.settings, unsafe_pickle=True)
    async with made as results:
        await results.store_result(task_id, {"a": 1}, **FIELDS)
        await results.mark_as_failure(failed, ValueError("x"))
        await results.save_group(group, [task_id])
        both.celery().ask("store", theirs, [1])
        assert [1] == await results.AsyncResult(theirs).get(timeout=5)
    read = both.read(task_id, result_extended=True)

    assert ({"a": 1}, "app.add") == (read["result"], read["name"])
    assert "ValueError" == both.read(failed)["result"]["$exception"]["qualname"]
    assert [task_id] == verdicts.members(both.celery().ask("restore_group", group))[0]


def test_a_failure_with_all_that_is_kept_here(both):
    """What only coatcheck keeps of a failure does not disturb Celery."""
    task_id = fresh()
    error = ExceptionGroup("eg", [ValueError(1), KeyError("k")])
    error.add_note("a note")
    error.__cause__ = OSError(2, "No such file")
    both.results.mark_as_failure(task_id, error)
    read = both.read(task_id)
    failure = both.results.get_task_meta(task_id).failure

    assert "FAILURE" == read["state"]
    assert ("eg", ("a note",)) == (failure.message, failure.notes)
    assert ["ValueError", "KeyError"] == [f.qualname for f in failure.exceptions]
    assert "FileNotFoundError" == failure.cause.qualname
    assert isinstance(failure, Failure)


def test_types_that_celery_lacks(celery, place):
    """What kombu has no tag for is a plain dict to Celery, which reads all the rest."""
    both = Both(celery, place, "json")
    task_id = fresh()
    with both.results as results:
        results.store_result(task_id, {"set": {1}, "n": 5})
    read = both.read(task_id)

    assert "SUCCESS" == read["state"]
    assert 5 == read["result"]["n"]
    assert "set" == read["result"]["set"]["__type__"]


COMPRESSIONS = [
    *[("json", name) for name in ("gzip", "zlib", "bzip2", "lzma", "zstd", "brotli")],
    ("msgpack", "gzip"), ("pickle", "gzip"),
]  # fmt: skip


@pytest.mark.parametrize(("serializer", "compression"), COMPRESSIONS)
def test_compression(newest, place, serializer, compression):
    """What Celery 5.7 compresses is read here; what is not compressed is read there."""
    both = Both(newest, place, serializer)
    side = both.celery(result_compression=compression)
    task_id, group_id, ours = fresh(), fresh(), fresh()
    value = {"text": "abc" * 1000}
    side.ask("store", task_id, value)
    side.ask("save_group", group_id, [task_id])
    with both.results as results:
        results.store_result(ours, value)

        assert value == results.get_result(task_id)
        assert [task_id] == results.restore_group(group_id).task_ids
        assert not results.store_result(task_id, "late")
    assert value == side.ask("read", ours)["result"]


def test_compressed_for_celery(newest, place):
    """What is compressed here for Celery is read there: records, failures and groups."""
    settings = {"result_backend": place, "accept_content": ACCEPT}
    results = coatcheck.from_celery_config(settings, compression="celery", compress_over=100)
    task_id, failed, group_id = fresh(), fresh(), fresh()
    value = {"text": "abc" * 1000}
    with results:
        results.store_result(task_id, value)
        results.mark_as_failure(failed, ValueError("xyz" * 1000))
        results.save_group(group_id, [task_id, failed])
    side = newest(**settings)

    assert value == side.ask("read", task_id)["result"]
    read = side.ask("read", failed)
    assert "FAILURE" == read["state"]
    assert "ValueError" == read["result"]["$exception"]["qualname"]
    assert side.ask("restore_group", group_id)
