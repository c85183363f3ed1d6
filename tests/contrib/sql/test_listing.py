"""
The database compares what a scan is for: the ids of other records are not sent.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import coatcheck
from coatcheck.plugin import Query
from coatcheck_sql import pages

LONG = "n" * 200


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def client(request):
    """Synchronous results in each database."""
    database = request.getfixturevalue(request.param)
    with coatcheck.by_url(database.url) as results:
        results.database = database
        yield results


def found(results, **conditions):
    """Return the ids that the database sends."""
    return sorted(results.backend.find(Query(**conditions)))


@pytest.mark.parametrize("column", ["name", "worker", "group_id"])
def test_words(client, column):
    """
    Of the records with another word, or none, no ids are sent. Those are whose word only the reader can
    tell: it is too long for the column, or sealed.
    """
    client.store_many({f"none{n}": n for n in range(5)})
    client.store_result("that", 1, **{column: "x"})
    client.store_result("else", 1, **{column: "y"})
    client.store_result("long", 1, **{column: f"{LONG}\0"})
    with coatcheck.by_url(client.database.url, compression="zlib", compress_over=0) as other:
        other.store_result("sealed", "v" * 1000, **{column: "x"})
    condition = column.removesuffix("_id")

    assert ["long", "sealed", "that"] == found(client, **{condition: "x"})
    assert ["sealed", "that"] == sorted(m.task_id for m in client.scan(**{condition: "x"}))
    assert ["long"] == [meta.task_id for meta in client.scan(**{condition: f"{LONG}\0"})]


def test_times(client):
    """
    Our dates are compared exactly, and those of Celery's rows with a day to spare for their zone.
    """
    now = datetime.now(UTC)
    client.store_many({"ours": 1, "theirs": 2, "old": 3})
    change = "UPDATE celery_taskmeta SET status = 'FAILURE', date_done = {} WHERE task_id = '{}'"
    hours = now.replace(microsecond=0, tzinfo=None)
    for task_id, hour in (("theirs", 5), ("old", 50)):
        date = hours - timedelta(hours=hour)
        client.database.execute(change.format(f"'{date.isoformat(' ')}'", task_id))

    hour = timedelta(hours=1)
    assert ["ours", "theirs"] == found(client, since=now - hour)
    assert ["ours"] == [meta.task_id for meta in client.scan(since=hour)]
    assert ["old", "theirs"] == found(client, before=now - hour)
    assert ["theirs"] == [m.task_id for m in client.scan(since=15 * hour, before=hour)]
    assert ["old"] == [meta.task_id for meta in client.scan(before=30 * hour)]
    assert 3 == len(list(client.scan(since=datetime.min.replace(tzinfo=UTC))))
    assert [] == list(client.scan(since=datetime.max.replace(tzinfo=UTC)))


def test_pages_without_a_match(client, monkeypatch):
    """
    A page goes through a number of rows, however few of them match, and the next one follows it: by number,
    and in the order of the ids.
    """
    monkeypatch.setattr(pages, "_WINDOW", 4)
    client.store_many({f"{n:02}": n for n in reversed(range(30))})
    client.mark_as_failure("15b", ValueError())
    client.mark_as_failure("02b", ValueError())

    assert ["02b", "15b"] == found(client, state="FAILURE")
    assert ["02b", "15b"] == list(client.backend.find(Query(state="FAILURE", after="")))
    assert ["15b"] == [meta.task_id for meta in client.scan(state="FAILURE", after="02b")]
    assert [f"{n:02}" for n in range(16, 30)] == [m.task_id for m in client.scan(after="15b")]


def test_tables_of_celery_alone(client):
    """
    Where Celery's tables lack our columns, or all tables are missing, the reader compares.
    """
    assert [] == found(client, name="x") == found(client, after="", state="SUCCESS")
    client.store_result("t", 1, name="x")
    client.store_result("u", 1, name="y")
    for column in ("name", "group_id", "more", "seal_date"):
        client.database.execute(f"ALTER TABLE celery_taskmeta DROP COLUMN {column}")
    with coatcheck.by_url(client.database.url, read_only=True) as reader:
        assert ["t", "u"] == found(reader, name="x") == found(reader, group="g")
        assert [] == list(reader.scan(name="x"))
        assert ["t", "u"] == [m.task_id for m in reader.scan(since=timedelta(days=2), after="")]


def test_counts(client):
    """
    The database counts by state and age: by our dates, and by Celery's in the zone of its rows.
    """
    assert 0 == client.stats().total
    now = datetime.now(UTC)
    client.store_many({"a": 1, "b": 2, "c": 3, "none": 4})
    client.store_result("gone", 1, expires=0.1)
    for n, age in enumerate((timedelta(minutes=5), timedelta(hours=5), timedelta(days=5))):
        client.mark_as_started(f"s{n}", date_started=now - age)
    client.store_result("odd", None, "ODD")
    change = "UPDATE celery_taskmeta SET status = {}, date_done = {} WHERE task_id = '{}'"
    hours = now.replace(microsecond=0, tzinfo=None)
    for task_id, hour in (("b", 5), ("c", 50)):
        date = f"'{(hours - timedelta(hours=hour)).isoformat(' ')}'"
        client.database.execute(change.format("'FAILURE'", date, task_id))
    client.database.execute(change.format("NULL", "NULL", "none"))
    while client.exists("gone"):
        pass
    counted = client.stats(sample=1)

    assert {
        "FAILURE": {"day": 1, "older": 1},
        "ODD": {"undated": 1},
        "PENDING": {"undated": 1},
        "STARTED": {"hour": 1, "day": 1, "older": 1},
        "SUCCESS": {"minute": 1},
    } == counted.states
    assert (8, 8, False) == (counted.total, counted.read, counted.sampled)


def test_counts_that_take_too_long(client, monkeypatch):
    """
    Where the count does not end in an operation's time, a sample does.
    """
    client.store_many({f"t{n}": n for n in range(20)})

    def slow(moments):
        raise coatcheck.BackendUnavailableError("it takes too long")

    monkeypatch.setattr(client.backend, "tally", slow)
    counted = client.stats(sample=5)

    assert (20, 5, True) == (counted.total, counted.read, counted.sampled)
