"""
Tables that a real Celery made, with its rows, which are ours to read and to go on with.

What both do in tables that we made is in `test_real_celery`.
"""

from __future__ import annotations

import pytest
from support import verdicts

import coatcheck
import coatcheck.aio
from coatcheck.testing.threads import Started

VALUES = [None, 1, 1.5, "naïve", [1, [2]], {"a": {"b": None}}]


@pytest.fixture(scope="module")
def side(celery, database_url):
    """Each Celery, at a database where it was the first. The tests use ids of their own."""
    side = celery(result_backend=database_url)
    side.ask("store", "first", VALUES)
    return side


def test_its_rows_are_read(side, database_url):
    """Values, failures, states and groups are read and awaited, by who may only read."""
    side.ask("fail", "failed", "ValueError", ["x"])
    side.ask("fail", "unknown", "Oops", ["y", 2])
    side.ask("store", "busy", {"current": 1}, "PROGRESS")
    side.ask("save_group", "group", ["first", "failed"])
    # Also where coatcheck would listen: nobody tells of what Celery stores.
    with coatcheck.by_url(database_url, read_only=True, safety_look=600.0) as results:
        waiting = Started(results.wait_for, "later", 60)
        side.ask("store", "later", 5)

        assert 5 == waiting.answer().result
        assert VALUES == results.get_result("first")
        for task_id, kind, args in [
            ("failed", "ValueError", ("x",)),
            ("unknown", "Oops", ("y", 2)),
        ]:
            failure = results.get_task_meta(task_id).failure
            assert (kind, args, "Traceback text") == (
                failure.qualname, failure.args, failure.traceback
            )  # fmt: skip
        assert ("PROGRESS", {"current": 1}) == states(results, "busy")
        assert ["first", "failed"] == results.restore_group("group").task_ids
        said = side.ask("read", "first")["date_done"]
        assert verdicts.moment(said) == results.get_task_meta("first").date_done


def states(results, task_id):
    """Return state and info."""
    meta = results.get_task_meta(task_id)
    return meta.status, meta.result


def test_its_tables_are_gone_on_with(side, database_url):
    """After the first store here both go on in the same tables, and no row takes another's number."""
    with coatcheck.by_url(database_url) as results:
        for number in range(3):
            assert results.store_result(f"ours{number}", number)
            results.ResultSet([f"ours{number}"]).save(f"ours{number}")
            side.ask("store", f"theirs{number}", number)
            side.ask("save_group", f"theirs{number}", [f"theirs{number}"])
        assert not results.store_result("theirs0", "late")
        assert {"ours0", "first", "theirs2"} <= {meta.task_id for meta in results.scan()}
        assert [0, 1, 2] == results.ResultSet([f"theirs{n}" for n in range(3)]).get(timeout=5)
        assert ["theirs2"] == results.restore_group("theirs2").task_ids

    if side.version >= "5.7":  # up to 5.6 it reads pickles alone
        assert {"returns": 2} == side.ask("get", "ours2", 5)
        assert ["ours2"] == verdicts.members(side.ask("restore_group", "ours2"))[0]


def test_it_reads_pickles_of_ours(side, database_url):
    """A Celery up to 5.6 reads what is stored as a pickle, as it stores values itself."""
    with coatcheck.by_url(database_url, serializer="pickle", unsafe_pickle=True) as results:
        results.store_result("pickled", {"a": (1, 2)})
        results.update_state("pickled busy", "PROGRESS", {"current": 1})
    read = side.ask("read", "pickled")

    assert "SUCCESS" == read["state"]
    assert {"a": {"$tuple": [1, 2]}} == read["result"]
    assert {"current": 1} == side.ask("read", "pickled busy")["result"]


async def test_the_side_for_asyncio(side, database_url):
    """The side for asyncio completes and uses the tables likewise."""
    async with coatcheck.aio.by_url(database_url) as results:
        assert VALUES == await results.get_result("first")
        assert await results.store_result("aio ours", 1)
        side.ask("store", "aio theirs", 2)
        assert 2 == (await results.wait_for("aio theirs", timeout=30)).result
        assert not await results.store_result("aio theirs", "late")
