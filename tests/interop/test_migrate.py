"""
Migrations between every pair of stores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from support.memcached import MemcachedServer
from support.mongo import MongoServer
from support.redis import RedisServer
from support.sql import PostgreSQLServer

import coatcheck
from coatcheck import Results, migrate

SOURCES = ("redis", "postgresql", "mongodb", "sqlite", "file")
PAIRS = [
    (source, target) for source in SOURCES for target in (*SOURCES, "memcached") if source != target
]
VALUES = {
    "number": 1,
    "tagged": {"when": datetime(2026, 12, 1, tzinfo=UTC), "price": Decimal("1.10"), "raw": b"\0"},
    "a tag that is data": {"__type__": "datetime", "__value__": "?"},
    "nothing": None,
    "long" * 100: ["🎉", "\0", 2**70],
}
DAY = 86_400


@pytest.fixture(scope="module")
def emptied(
    redis_server: RedisServer,
    mongo_server: MongoServer,
    memcached_server: MemcachedServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], str]]:
    """
    Returns the URL of an empty store of a kind.
    """
    with PostgreSQLServer() as postgresql:

        def empty(kind: str) -> str:
            place = tmp_path_factory.mktemp("records")
            if kind == "redis":
                redis_server.ask("FLUSHALL")
                return redis_server.url
            if kind == "mongodb":
                mongo_server.empty()
                return mongo_server.url
            if kind == "memcached":
                memcached_server.ask("flush_all")
                return memcached_server.url
            if kind == "postgresql":
                postgresql.empty()
                return postgresql.url
            return f"sqlite:///{place}/results.db" if kind == "sqlite" else f"file://{place}"

        yield empty


def fill(results: Results) -> None:
    results.store_many(VALUES, expires=2 * DAY)
    results.store_result("kept", 1, expires=None)
    results.store_result("running", {"current": 1}, "PROGRESS", worker="w\x1b", expires=DAY)
    try:
        raise KeyError("missing") from ValueError("deep")
    except KeyError as error:
        results.store_result("failed", error, "FAILURE", name="app.task", args=[1], retries=2)
    results.backend.put_group_tree("tree", [["tree", None], [[["a", "tree"], None]]], expires=DAY)
    results.save_group("group", ["number"], expires=None)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_pair(emptied: Callable[[str], str], source: str, target: str) -> None:
    """
    Values, failures, fields, lives and groups are the same behind a migration, and a second one changes nothing.
    """
    lost = {}
    with coatcheck.by_url(emptied(source)) as old, coatcheck.by_url(emptied(target)) as new:
        fill(old)
        counts = migrate(old, new, on_failure=lost.__setitem__)

        assert {} == lost
        assert (8, 2, 8, True) == (counts.copied, counts.groups, counts.verified, counts.complete)
        ids = [*VALUES, "kept", "running", "failed"]
        before, after = old.get_many(ids), new.get_many(ids)
        for id_ in ids:
            assert portable(before[id_]) == portable(after[id_])
        assert VALUES == {id_: after[id_].result for id_ in VALUES}
        assert "deep" == after["failed"].failure.cause.message
        if target != "memcached":
            check_lives(new)
        assert ["number"] == [one.id for one in new.restore_group("group")]
        assert ["a"] == [one.id for one in new.restore_group("tree")]
        again = migrate(old, new)
        assert (0, 8, 2) == (again.copied, again.there, again.groups_there)


def portable(meta: coatcheck.ResultMeta) -> dict[str, object]:
    """
    Return all that the two records must share: stores of fields add empty ones, and keep dates as dates.
    """
    kept = {key: value for key, value in meta.values().items() if value is not None}
    for key in ("date_done", "date_started"):
        kept[key] = in_milliseconds(getattr(meta, key))
    kept.pop("expires_at", None)
    return kept


def in_milliseconds(moment: datetime | None) -> str | None:
    """
    Return a date as far as MongoDB keeps it.
    """
    return None if moment is None else moment.isoformat(timespec="milliseconds")


def check_lives(results: Results) -> None:
    lives = results.backend.lives(["number", "kept", "running", "failed"])
    expected = {"number": 2 * DAY, "kept": math.inf, "running": DAY, "failed": DAY}
    assert {id_: pytest.approx(seconds, abs=60) for id_, seconds in expected.items()} == lives
    assert results.backend.lives(["tree"], groups=True)["tree"] == pytest.approx(DAY, abs=60)


@pytest.mark.parametrize("keys", ["signing_keys", "encryption_keys"])
@pytest.mark.parametrize(
    ("source", "target"), [("mongodb", "postgresql"), ("postgresql", "redis"), ("redis", "sqlite")]
)
def test_sealed_records(emptied: Callable[[str], str], source: str, target: str, keys: str) -> None:
    """
    Sealed records move without their keys, unless a store of fields needs to know what is inside.
    """
    sealed = {keys: "k1:" + "k" * 32}
    here, there = emptied(source), emptied(target)
    with coatcheck.by_url(here, **sealed) as writing:
        writing.store_result("t", {"a": 1}, expires=DAY)
        written = writing.get_task_meta("t")
    with coatcheck.by_url(here) as old, coatcheck.by_url(there) as new:
        assert migrate(old, new).complete
        check = new.backend.lives(["t"])
        assert check == {"t": pytest.approx(DAY, abs=60)}
    with coatcheck.by_url(there, **sealed) as reading:
        meta = reading.get_task_meta("t")
        assert {"a": 1} == meta.result
        assert in_milliseconds(written.date_done) == in_milliseconds(meta.date_done)


def test_a_sealed_record_for_a_store_of_fields(emptied: Callable[[str], str]) -> None:
    """
    An encrypted record whose key is not given is reported where its fields are needed.
    """
    lost = {}
    here, there = emptied("sqlite"), emptied("mongodb")
    sealed = {"encryption_keys": "k1:" + "k" * 32}
    with coatcheck.by_url(here, **sealed) as writing, coatcheck.by_url(there) as new:
        writing.store_result("t", 1)
        with coatcheck.by_url(here) as old:
            counts = migrate(old, new, on_failure=lost.__setitem__)
        assert (1, 1) == (counts.failed, counts.missing)
        assert "k1" in str(lost["t"])
        assert migrate(writing, new).complete
    with coatcheck.by_url(there, **sealed) as reading:
        assert 1 == reading.get_result("t")
