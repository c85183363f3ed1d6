"""
Documents: their fields, other programs that write them, and the commands to the server.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pymongo
import pytest
from bson.datetime_ms import DatetimeMS
from pymongo.monitoring import CommandListener
from support.mongo import MongoServer, until

import coatcheck
import coatcheck.aio
from coatcheck.plugin import Query
from coatcheck.testing.threads import Started
from coatcheck_mongo import asyncio as asyncio_backend
from coatcheck_mongo import link as links
from coatcheck_mongo import scans
from coatcheck_mongo.clock import EPOCH, LATE, TRUST
from coatcheck_mongo.records import encoded

#: Looks into the backend that uses the driver's side for asyncio.
NATIVE = pytest.mark.skipif(
    not asyncio_backend.has_asyncio(), reason="the driver is so old that threads serve asyncio"
)


def test_document(results, oracle):
    """A record is a document of Celery's fields, with dates as dates and the value as text."""
    started = datetime.now(UTC) - timedelta(seconds=1)
    results.store_result("t", {"a": [1, None]}, name="add", args=[1], date_started=started)
    found = oracle.find_one({"_id": "t"})

    assert '{"a": [1, null]}' == found["result"]
    assert {
        "status": "SUCCESS",
        "name": "add",
        "args": [1],
        "kwargs": None,
    }.items() <= found.items()
    assert {datetime} == {type(found[k]) for k in ("date_done", "date_started", "expires_at")}
    assert "task_id" not in found


@pytest.mark.parametrize("serializer", ["msgpack", "pickle"])
def test_bytes_name_their_serializer(server, oracle, serializer):
    """A value in bytes names its serializer, so that no reader has to guess."""
    options = {"serializer": serializer, "unsafe_pickle": True, "accept": "json,msgpack,pickle"}
    with coatcheck.by_url(server.url, **options) as writer:
        writer.store_result("t", [1, b"x"])
    found = oracle.find_one({"_id": "t"})

    assert (serializer, bytes) == (found["serializer"], type(found["result"]))
    with coatcheck.by_url(server.url, accept="json,msgpack,pickle") as reader:
        assert [1, b"x"] == reader.get_result("t")


@pytest.mark.parametrize(
    "args",
    [
        [2**63],
        [{"a\0b": 1}],
        [{1: 2}],
        [{1, 2}],
        [datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC)],
        [{"__type__": "date", "__value__": "no date"}],
        ["\ud800"],
    ],
)
def test_arguments_that_bson_lacks(results, oracle, args):
    """Arguments that BSON lacks are encoded, and come back as they were."""
    results.store_result("t", {1, 2}, args=args, kwargs={"plain": 2**40})
    meta = results.get_task_meta("t")

    assert (args, {"plain": 2**40}) == (meta.args, meta.kwargs)
    assert int is type(meta.kwargs["plain"])
    assert ["args"] == oracle.find_one({"_id": "t"})["encoded"]


def test_text_that_bson_lacks(results):
    """A failure is stored although its traceback is not valid text."""
    results.mark_as_failure("t", ValueError("x"), traceback="file \udcff")

    assert "file \udcff" == results.get_traceback("t")


def test_lost_worker_of_a_foreign_record(results, oracle):
    """Over a record that nothing marks exactly that one is replaced, and no other."""
    oracle.insert_one({"_id": "t", "status": "STARTED", "result": "null", "date_done": None})
    observed = results.get_task_meta("t")
    oracle.update_one({"_id": "t"}, {"$set": {"retries": 1}})
    put = results.backend.put
    meta = results._writer.record("t", "SUCCESS", 1)

    assert not put("t", meta, unless=frozenset(), if_match=observed, expires=60)
    observed = results.get_task_meta("t")
    assert put("t", meta, unless=frozenset(), if_match=observed, expires=60)


def test_values_like_expressions(results):
    """Text that looks like an expression of the server is only text."""
    value = {"$set": "$$ROOT", "a": "$status"}
    results.store_result("$$NOW", value, name="$name", args=["$x", {"$literal": 1}])
    meta = results.get_task_meta("$$NOW")

    assert (value, "$name", ["$x", {"$literal": 1}]) == (meta.result, meta.name, meta.args)


def test_indexes(results, server, oracle):
    """The first write makes an index for the server to expire by, and one by state and date."""
    results.store_result("t", 1)
    results.ResultSet(["t"]).save("g")
    found = oracle.index_information()

    assert 0 == found["expires_at_1"]["expireAfterSeconds"]
    assert [("status", 1), ("date_done", 1)] == found["status_1_date_done_1"]["key"]
    groups = server.client.results.celery_groupmeta.index_information()
    assert {"_id_", "expires_at_1"} == set(groups)
    assert results.backend.unindexed is None


def test_indexes_are_made_again(server, oracle, monkeypatch):
    """After the database was dropped, the indexes are made again, or records would live for ever."""
    monkeypatch.setattr(links, "REINDEX", 0.0)
    with coatcheck.by_url(server.url) as results:
        results.store_result("t", 1)
        server.client.drop_database("results")
        results.store_result("u", 1)
        results.store_many({"v": 1})

    assert {"_id_", "expires_at_1", "status_1_date_done_1"} == set(oracle.index_information())


async def test_indexes_are_made_again_aio(server, oracle, monkeypatch):
    """The same for asyncio."""
    monkeypatch.setattr(links, "REINDEX", 0.0)
    async with coatcheck.aio.by_url(server.url) as results:
        await results.store_result("t", 1)
        oracle.drop()
        await results.store_result("u", 1)

    assert {"_id_", "expires_at_1", "status_1_date_done_1"} == set(oracle.index_information())


def test_asyncio_of_the_driver_is_used_where_it_is_good_enough():
    """That of pymongo 4.18 and later, and no other."""
    assert asyncio_backend.has_asyncio() == (pymongo.version_tuple[:2] >= (4, 18))


async def test_asyncio_with_an_older_driver(server, monkeypatch):
    """Otherwise threads serve asyncio."""
    monkeypatch.setattr(asyncio_backend, "has_asyncio", lambda: False)
    async with coatcheck.aio.by_url(server.url) as results:
        wait = asyncio.create_task(results.AsyncResult("t").get(timeout=20))

        assert await results.store_result("t", 1)
        assert 1 == await wait


def test_a_wait_notices_that_the_collection_was_dropped(results, server, oracle):
    """Where there is a change stream, the next write makes the indexes, however soon it comes."""
    results.store_result("t", 1)
    with pytest.raises(coatcheck.WaitTimeoutError):
        results.wait_for("never", 0.2)
    wait = Started(results.wait_for, "u", 20)
    until(lambda: results.backend._link.awaited)
    oracle.drop()
    until(lambda: not results.backend._link.indexed)
    results.store_result("u", 1)

    assert 1 == wait.answer().result
    assert {"_id_", "expires_at_1", "status_1_date_done_1"} == set(oracle.index_information())


def test_scan_by_state(results, oracle):
    """Records in a state are found by the index, and others are not read for that."""
    results.store_many({f"t{n}": 1 for n in range(1500)})
    results.mark_as_failure("failed", ValueError("x"))
    oracle.insert_one({"_id": "odd", "status": 5})

    assert ["failed"] == list(results.backend.find(Query(state="FAILURE")))
    uses = {
        index["name"]: index["accesses"]["ops"] for index in oracle.aggregate([{"$indexStats": {}}])
    }
    assert uses["status_1_date_done_1"] > 0
    assert 1500 == len(list(results.scan(state="SUCCESS")))
    assert ["odd"] == [meta.task_id for meta in results.scan(state="PENDING")]


def found(results, **conditions):
    """Return the ids that the server sends, in their order."""
    return list(results.backend.find(Query(**conditions)))


@pytest.mark.parametrize("field", ["name", "worker", "group_id"])
def test_scan_by_words(server, results, field, monkeypatch):
    """
    No ids come of records with another word, or without one; a word that BSON lacks, or that is sealed, only the
    reader can tell. A query goes through a number of records, however few of them match.
    """
    monkeypatch.setattr(scans, "WINDOW", 3)
    results.store_many({f"none{n}": n for n in range(15)})
    results.store_result("that", 1, **{field: "x"})
    results.store_result("else", 1, **{field: "y"})
    results.store_result("odd", 1, **{field: "\udcff"})
    with coatcheck.by_url(server.url, compression="zlib", compress_over=0) as other:
        other.store_result("sealed", "v" * 1000, **{field: "x"})
    condition = {field.removesuffix("_id"): "x"}

    assert ["odd", "sealed", "that"] == found(results, **condition)
    assert ["sealed", "that"] == [meta.task_id for meta in results.scan(after="", **condition)]
    assert ["that"] == found(results, after="sealed", **condition)
    assert ["sealed"] == found(results, prefix="se", **condition)
    assert [] == found(results, prefix="z", **condition) == found(results, prefix="a", **condition)


def test_scan_by_time(results, oracle):
    """Dates are compared by the index; text, as other programs may store it, by the reader."""
    results.store_many({f"t{n}": 1 for n in range(1500)})
    results.mark_as_started("running")
    now = datetime.now(UTC)
    oracle.insert_one({"_id": "old", "status": "SUCCESS", "date_done": now - timedelta(days=2)})
    text = (now - timedelta(hours=2)).isoformat()
    oracle.insert_one({"_id": "text", "status": "SUCCESS", "date_done": text})
    day = timedelta(days=1)

    assert ["old", "text"] == found(results, before=now - day)
    assert ["old"] == [meta.task_id for meta in results.scan(before=day)]
    assert ["text"] == [meta.task_id for meta in results.scan(since=day, before=day / 24)]
    assert 1501 == len(list(results.scan(since=day)))
    uses = {
        index["name"]: index["accesses"]["ops"] for index in oracle.aggregate([{"$indexStats": {}}])
    }
    assert uses["status_1_date_done_1"] > 0


def test_counts(results, oracle):
    """
    The server counts by state and age. Text in place of a date, as other programs may store it, counts too.
    """
    now = datetime.now(UTC)
    results.store_many({f"t{n}": n for n in range(5)})
    for n, age in enumerate((timedelta(minutes=5), timedelta(hours=5), timedelta(days=5))):
        results.mark_as_started(f"s{n}", date_started=now - age)
    results.store_result("gone", 1, expires=0.01)
    oracle.insert_one({"_id": "old", "status": "FAILURE", "date_done": now - timedelta(days=2)})
    text = (now - timedelta(hours=2)).isoformat()
    oracle.insert_one({"_id": "text", "status": "FAILURE", "date_done": text})
    oracle.insert_one({"_id": "odd", "status": 5, "date_done": "?"})
    until(lambda: not results.exists("gone"))
    counted = results.stats(sample=1)

    assert {
        "FAILURE": {"day": 1, "older": 1},
        "PENDING": {"undated": 1},
        "STARTED": {"hour": 1, "day": 1, "older": 1},
        "SUCCESS": {"minute": 5},
    } == counted.states
    assert (11, 11, False) == (counted.total, counted.read, counted.sampled)


async def test_scan_by_state_aio(aio_results):
    """Records in a state are found, and others are not read for that."""
    await aio_results.store_many({f"t{n}": 1 for n in range(1500)})
    await aio_results.mark_as_failure("failed", ValueError("x"))

    assert ["failed"] == [id_ async for id_ in aio_results.backend.find(Query(state="FAILURE"))]
    assert 1500 == len([meta async for meta in aio_results.scan(state="SUCCESS")])


def test_reading_makes_no_collection(server):
    """A client that only reads leaves the database as it was."""
    url = server.url.replace("/results", "/untouched")
    with coatcheck.by_url(url) as results:
        assert not results.exists("t")
        with pytest.raises(coatcheck.WaitTimeoutError):
            results.wait_for("t", 0.05)

    assert "untouched" not in server.client.list_database_names()


@pytest.fixture
def guarded(tmp_path):
    """A server with users, and the first of them."""
    with MongoServer(tmp_path) as server:
        admin = server.client.admin
        anywhere = {"db": "results", "collection": ""}
        actions = ["find", "insert", "update", "remove"]
        admin.command("createUser", "root", pwd="pw", roles=["root"])
        privileges = [{"resource": anywhere, "actions": actions}]
        admin.command("createRole", "writer", privileges=privileges, roles=[])
        # Journaled, or the kill could undo it.
        kept = {"w": 1, "j": True}
        admin.command("createUser", "w", pwd="p@ss", roles=["writer"], writeConcern=kept)
        server.kill()
        server.options = ("--auth",)
        server.client.close()
        del server.client
        server.start()
        yield server


def test_without_the_right_to_make_indexes(guarded, caplog):
    """A user who may not create indexes can work all the same. The log says so once, without the password."""
    url = f"mongodb://w:p%40ss@127.0.0.1:{guarded.port}/results"
    with coatcheck.by_url(url) as results:
        assert results.store_result("t", 1)
        assert results.store_result("u", 1)
        assert 1 == results.wait_for("t", 5).result

        assert "not authorized" in str(results.backend.unindexed)
        assert 1 == caplog.text.count("indexes could not be created")
        assert "p@ss" not in caplog.text


@pytest.mark.parametrize("user", ["", "w:wrong@"])
def test_refused(guarded, user):
    """A user whom the server does not know is told at once which server refuses."""
    with coatcheck.by_url(f"mongodb://{user}127.0.0.1:{guarded.port}/results") as results:
        said = "refuses the user" if user else "requires authentication"
        with pytest.raises(coatcheck.BackendError, match=said) as caught:
            results.store_result("t", 1)
        assert "wrong" not in str(caught.value)


def test_largest_record(results):
    """A record as large as the limit is taken, and the limit is asked before anything is sent."""
    limit = results.backend.max_value_bytes
    meta = results._writer.record("t", "SUCCESS", "")
    rest = len(encoded(meta, results._codec, None).body.raw)
    assert results.store_result("t", "x" * (limit - rest - 12))
    with pytest.raises(coatcheck.ResultTooLargeError):
        results.store_result("u", "x" * limit)
    assert "FAILURE" == results.get_state("u")


def test_purge_is_in_portions(results, oracle, server):
    """More expired records than fit into one portion are purged, groups as well, and living ones stay."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    server.ask("setParameter", 1, ttlMonitorEnabled=False)
    try:
        results.store_result("kept", 1)
        oracle.insert_many(
            [{"_id": f"t{n}", "status": "SUCCESS", "expires_at": past} for n in range(2500)]
        )
        server.client.results.celery_groupmeta.insert_one({"_id": "g", "expires_at": past})

        assert 2501 == results.purge()
        assert ["kept"] == [meta.task_id for meta in results.scan()]
    finally:
        server.ask("setParameter", 1, ttlMonitorEnabled=True)


def test_odd_documents_do_not_keep_others_from_being_read(results, oracle):
    """Dates beyond all years, broken text and foreign types harm nobody."""
    oracle.insert_one(
        {"_id": "t", "status": "SUCCESS", "result": "1", "date_done": DatetimeMS(2**62)}
    )
    oracle.insert_one({"_id": "u", "status": "SUCCESS", "result": 5, "expires_at": "soon"})
    results.store_result("v", 1)
    metas = results.get_many("tuv")

    assert [1, 5, 1] == [meta.result for meta in metas.values()]
    assert metas["t"].date_done is None


class Heard(CommandListener):
    """Remembers the names of commands."""

    def __init__(self):
        self.names = []

    def started(self, event):
        self.names.append(event.command_name)

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass

    def hear(self, link):
        """Hear the commands of the client that *link* makes next."""
        options = link.client_options()
        link.client_options = lambda: {**options, "event_listeners": [link.clock, self]}

    def take(self):
        """Return the commands since the last time, except the creation of indexes."""
        names, self.names = self.names, []
        return [name for name in names if name != "createIndexes"]


def test_round_trips(server):
    """A store and a read are one command each, and so are their batches."""
    heard = Heard()
    with coatcheck.by_url(server.url) as results:
        heard.hear(results.backend._link)
        results.store_result("warm", 1)  # the time on the server is not known before
        assert ["update"] == heard.take()
        results.get_many(f"t{n}" for n in range(500))  # nor the size of records
        heard.take()
        results.store_result("t", 1)
        results.get_task_meta("t")
        results.store_many({f"t{n}": n for n in range(500)})
        results.get_many(f"t{n}" for n in range(500))

        assert ["insert", "find", "update", "find"] == heard.take()


def test_round_trips_over_records(server, oracle):
    """Over an unready record of one's own a store is one command, over another one it is two."""
    heard = Heard()
    oracle.insert_one({"_id": "other", "status": "STARTED"})
    with coatcheck.by_url(server.url) as results:
        heard.hear(results.backend._link)
        results.store_result("warm", 1)  # the time on the server is not known before
        assert ["update"] == heard.take()
        results.store_result("t", None, "STARTED")
        assert results.store_result("t", 1)
        assert ["insert", "update"] == heard.take()
        assert results.store_result("other", 1)
        assert ["insert", "update"] == heard.take()
        assert not results.store_result("other", 2)
        assert ["insert", "update", "find"] == heard.take()


@NATIVE
async def test_round_trips_over_records_aio(server, oracle):
    """Over an unready record of one's own a store is one command, over another one it is two."""
    heard = Heard()
    oracle.insert_one({"_id": "other", "status": "STARTED"})
    async with coatcheck.aio.by_url(server.url) as results:
        heard.hear(results.backend._links.get())
        await results.store_result("warm", 1)
        assert ["update"] == heard.take()
        await results.store_result("t", None, "STARTED")
        assert await results.store_result("t", 1)
        assert ["insert", "update"] == heard.take()
        assert await results.store_result("other", 1)
        assert ["insert", "update"] == heard.take()
        assert not await results.store_result("other", 2)
        assert ["insert", "update", "find"] == heard.take()


def test_ids_that_are_remembered(server, monkeypatch):
    """Of the ids with an unready record few are remembered, and a store of any takes place."""
    monkeypatch.setattr(links, "_REMEMBERED", 3)
    with coatcheck.by_url(server.url) as results:
        for n in range(10):
            results.store_result(f"t{n}", None, "STARTED")
            assert len(results.backend._link._begun) <= 3
        assert all(results.store_result(f"t{n}", n) for n in range(10))
        assert [*range(10)] == [results.get_result(f"t{n}") for n in range(10)]
        assert not results.backend._link._begun


def tell_time(clock, server):
    """Give *clock* the time on the server, for good; return the largest error."""
    start = time.monotonic()
    local = server.ask("hello")["localTime"]
    clock.succeeded = lambda event: None
    clock._latest, clock._heard = (local - EPOCH).total_seconds() - start, start
    return timedelta(seconds=LATE + time.monotonic() - start)


@pytest.mark.parametrize(
    ("expires", "command"), [(60, "insert"), (1e12, "insert"), (None, "insert"), (59, "update")]
)
def test_lives_are_by_the_clock_of_the_server(server, oracle, expires, command):
    """A record lives as long as promised, and hardly longer; the server computes the end of a short life."""
    heard = Heard()
    with coatcheck.by_url(server.url) as results:
        heard.hear(results.backend._link)
        results.store_result("warm", 1)  # the time on the server is not known before
        assert ["update"] == heard.take()
        off = tell_time(results.backend._link.clock, server)
        before = server.ask("hello")["localTime"]
        results.store_result("t", 1, expires=expires)
        after = server.ask("hello")["localTime"]
        assert [command] == heard.take()

    end = oracle.find_one({"_id": "t"}).get("expires_at")
    if expires in (None, 1e12):
        assert end is None
    else:
        life = timedelta(seconds=expires)
        assert before + life <= end <= after + life + off


def test_lives_with_nothing_heard_of_a_clock(server, oracle):
    """While the time on the servers is unknown, they compute the end of all lives."""
    heard = Heard()
    with coatcheck.by_url(server.url) as results:
        heard.hear(results.backend._link)
        results.store_result("warm", 1)
        results.store_result("surely", 1)
        results.backend._link.clock._heard -= TRUST
        results.store_result("t", 1)

        assert ["update", "insert", "update"] == heard.take()
    assert oracle.find_one({"_id": "t"})["expires_at"]


@NATIVE
async def test_a_driver_that_does_not_close(server, monkeypatch):
    """To close ends in the time of an operation, also where the driver would wait for ever."""
    results = coatcheck.aio.by_url(server.url)
    await results.store_result("t", 1)
    link = results.backend._links.get()
    client = link._client
    close, ended = client.close, asyncio.Event()
    monkeypatch.setattr(client, "close", ended.wait)
    monkeypatch.setattr(link.settings, "operation_timeout", 0.1)
    async with asyncio.timeout(30):
        await results.close()

    assert [False] == [task.done() for task in link.apart._left]
    ended.set()
    await close()
