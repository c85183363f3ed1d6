"""
What any Celery wrote into its tables is read as by Celery's own client.

Every row of the capture is put into a real database, see `support.celery` for where the rows are.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from support import verdicts
from support.celery import rows, untagged

import coatcheck
import coatcheck.aio

ALL = ("json", "msgpack", "pickle")
#: What the capture has under names of its own.
FILES = {"postgresql": "database-postgresql.jsonl", "sqlite": "database-sqlite.jsonl"}


@pytest.fixture(autouse=True)
def _without_celery(monkeypatch):
    """Read as where Celery is not installed: what pickles name of it is missing."""
    hidden = ("celery", "kombu", "billiard")
    loaded = [name for name in sys.modules if name.partition(".")[0] in hidden]
    for name in {*hidden, *loaded}:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(params=list(FILES))
def database(request):
    """Each database that was captured, with the tables that Celery 5.7 makes."""
    database = request.getfixturevalue(request.param)
    database.captured = list(rows(FILES[request.param]))
    blob, date, number = (
        ("BYTEA", "TIMESTAMP", "INTEGER")
        if request.param == "postgresql"
        else ("BLOB", "DATETIME", "INTEGER")
    )
    database.execute(
        f"CREATE TABLE celery_taskmeta (id {number} PRIMARY KEY, task_id VARCHAR(155) UNIQUE, "
        f"status VARCHAR(50), result {blob}, date_done {date}, traceback TEXT, children {blob}, "
        f"name VARCHAR(155), args {blob}, kwargs {blob}, worker VARCHAR(155), retries INTEGER, "
        f"queue VARCHAR(155), stamps {blob})"
    )
    database.execute(
        f"CREATE TABLE celery_tasksetmeta (id {number} PRIMARY KEY, "
        f"taskset_id VARCHAR(155) UNIQUE, result {blob}, date_done {date})"
    )
    return database


def load(database, row):
    """Put what the row found into the tables, and nothing else."""
    for table in ("celery_taskmeta", "celery_tasksetmeta"):
        database.execute(f"DELETE FROM {table}")
    for item in row["raw"]["rows"]:
        values = {name: untagged(v["value"]) for name, v in item["columns"].items()}
        marks = ", ".join(["?" if "sqlite" in database.url else "%s"] * len(values))
        database.execute(
            f"INSERT INTO {item['table']} ({', '.join(values)}) VALUES ({marks})",
            list(values.values()),
        )


def given(row, database):
    """Return the settings that wrote the row, with the place where it is now."""
    url = database.url.removeprefix("db+")
    return {**row["conf"], "result_backend": f"db+{url}"}


def expected_date(row):
    """Return the moment that Celery read: it shows the clock of its own time zone."""
    date = row["read"]["date_done"]
    zone = row["conf"].get("timezone")
    if not isinstance(date, dict) or zone is None or row["backend"] != "sqlite":
        return date
    local = datetime.fromisoformat(date["$datetime"])
    return {"$datetime": local.replace(tzinfo=ZoneInfo(zone)).isoformat(), "aware": True}


def was_replaced(row):
    """Whether Celery read another record than the one that was captured."""
    if verdicts.raises(row["meta"]) or not row["raw"]["rows"]:
        return False
    done = verdicts.moment(row["raw"]["rows"][0]["columns"]["date_done"]["value"])
    read = row["read"]
    if read["ready"] != (read["state"] in coatcheck.states.READY_STATES):
        return True  # between two of Celery's own looks
    said = row["meta"].get("date_done"), row["read"]["date_done"]
    return any(verdicts.moment(date) != done for date in said)


def judged(results, row):
    """Return the differences of a row, each with its kind; the kind of a mistake is `None`."""
    meta = results.get_task_meta(row["task_id"])
    assert meta.known == bool(row["raw"]["rows"])
    if was_replaced(row):
        return []
    row["read"]["date_done"] = expected_date(row)
    return list(verdicts.differences({**row, "raw": {}}, meta))


def test_every_row_is_read_as_by_celery(database, monkeypatch):
    """
    No row falls outside: it is read as Celery reads it, or in a way that the page lists.
    """
    monkeypatch.setattr(verdicts, "taken_apart", lambda row: False)
    found, mistakes, made = Counter(), [], {}
    for row in database.captured:
        if row["read"] is None or row["phase"] == "schema":
            continue
        load(database, row)
        name = json.dumps(row["conf"])
        if name not in made:
            made[name] = coatcheck.from_celery_config(
                given(row, database), accept=ALL, read_only=True
            )
        kinds = judged(made[name], row)
        mistakes += [(row["id"], field) for field, kind in kinds if kind is None]
        found.update(kind for _, kind in kinds)
    for results in made.values():
        results.close()

    assert not mistakes, mistakes
    assert set(found) <= verdicts.listed()


def test_pickles_need_no_permission_where_they_are_plain(database):
    """
    Rows of a Celery up to 5.6 that works in JSON are read by a reader that does not accept pickle.
    """
    read = 0
    for row in database.captured:
        if not row["id"].split("/")[1].startswith("5.6") or row["read"] is None:
            continue
        if row["serializer"] != "json" or not row["raw"]["rows"] or was_replaced(row):
            continue
        load(database, row)
        with coatcheck.from_celery_config(given(row, database), read_only=True) as results:
            assert results.get_task_meta(row["task_id"]).error is None or (
                row["read"]["state"] in coatcheck.states.EXCEPTION_STATES
            )
        read += 1

    assert read > 0


def test_groups(database):
    """
    Groups are read of JSON and of pickles: the ids of their tasks, and nothing of Celery's.
    """
    read = Counter()
    for row in database.captured:
        group = row["raw"].get("rows", []) if row["phase"] != "schema" else []
        if row["read"] is not None or not group or group[0]["table"] != "celery_tasksetmeta":
            continue
        if row["serializer"] == "yaml" or row["meta"] is None or verdicts.raises(row["meta"]):
            continue
        load(database, row)
        expected, _ = verdicts.members(row["meta"]["result"])
        with coatcheck.from_celery_config(given(row, database), read_only=True) as results:
            assert expected == results.restore_group(row["task_id"]).task_ids
        read[row["id"].split("/")[1]] += 1

    assert read["5.7.0"]
    assert read["5.6.2"] or "sqlite" not in database.url


async def test_the_side_for_asyncio_reads_the_same(database):
    """
    Under asyncio a row is read as by the synchronous side.
    """
    chosen = [row for row in database.captured if row["read"] and row["raw"]["rows"]][:20]
    for row in chosen:
        load(database, row)
        with coatcheck.from_celery_config(given(row, database), read_only=True) as results:
            ours = results.get_task_meta(row["task_id"])
        async with coatcheck.aio.from_celery_config(
            given(row, database), read_only=True
        ) as results:
            theirs = await results.get_task_meta(row["task_id"])
        assert ours.document == theirs.document
    assert chosen
