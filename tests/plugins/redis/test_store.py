"""
The content of the server after a store, read without coatcheck.
"""

from __future__ import annotations

import json
import threading
import time

import pytest
import redis

import coatcheck
import coatcheck.aio
from coatcheck_redis import script

KEY = "celery-task-meta-t"


def published(client: redis.Redis, act) -> tuple[bytes, bytes]:
    """Return the channel and the data of the message that *act* publishes."""
    with client.pubsub() as pubsub:
        pubsub.psubscribe("*")
        assert pubsub.get_message(timeout=5)["type"] == "psubscribe"
        act()
        message = pubsub.get_message(timeout=5)
    return message["channel"], message["data"]


def test_record(results, oracle):
    """The record is JSON in Celery's order, under Celery's key, for a day."""
    results.store_result("t", 579, name="add")
    document = json.loads(oracle.get(KEY))

    assert ["status", "result", "traceback", "children", "date_done", "name", "task_id"] == list(
        document
    )[:7]
    assert ("SUCCESS", 579, "t") == (document["status"], document["result"], document["task_id"])
    assert 86_390_000 < oracle.pttl(KEY) <= 86_400_000


@pytest.mark.parametrize(
    ("expires", "milliseconds"), [(0.5, 500), (90.7, 90_700), (31 * 86_400, 2_678_400_000)]
)
def test_life(results, oracle, expires, milliseconds):
    """The server counts down from the given lifetime, not from less."""
    results.store_result("t", 1, expires=expires)
    seen = oracle.execute_command("PEXPIRETIME", KEY) - time.time() * 1000

    assert milliseconds - 1000 < seen <= milliseconds + 1


def test_kept(results, oracle):
    """Without a life the record is kept, even where one with a life was."""
    results.mark_as_started("t")
    results.store_result("t", 1, expires=None)

    assert -1 == oracle.pttl(KEY)


def test_publishes_the_record(results, oracle):
    """Every state is published, byte for byte, on the channel named like the key."""
    started = published(oracle, lambda: results.mark_as_started("t"))
    stored = oracle.get(KEY)
    ready = published(oracle, lambda: results.store_result("t", 1))

    assert (KEY.encode(), stored) == started
    assert (KEY.encode(), oracle.get(KEY)) == ready


def test_refused_write_publishes_nothing(results, oracle):
    """A store that loses wakes nobody."""
    results.store_result("t", 1)
    with oracle.pubsub() as pubsub:
        pubsub.psubscribe("*")
        pubsub.get_message(timeout=5)
        results.store_result("t", 2)

        assert pubsub.get_message(timeout=0.2) is None


def test_one_round_trip(results, oracle):
    """A store is one command to the server."""
    results.store_result("warm", 1)
    before = oracle.info("stats")["total_commands_processed"]
    calls = oracle.info("commandstats")["cmdstat_evalsha"]["calls"]
    results.store_result("t", 1)

    assert calls + 1 == oracle.info("commandstats")["cmdstat_evalsha"]["calls"]
    # The script's own commands count too: GETRANGE, SET, DEL of the log, PUBLISH; and this test's three.
    assert oracle.info("stats")["total_commands_processed"] - before <= 5 + 3


@pytest.mark.parametrize("many", [False, True])
def test_script_is_brought(results, oracle, many):
    """A server that forgot the script gets it again."""
    results.store_result("a", 1)
    oracle.script_flush()
    won = results.store_many({"b": 1, "c": 2}) if many else {"b": results.store_result("b", 1)}

    assert all(won.values())
    assert [True] == oracle.script_exists(script.SCRIPTS.put.sha)


async def test_script_is_brought_aio(aio_results, oracle):
    """A server that forgot the script gets it again, under asyncio."""
    await aio_results.store_result("a", 1)
    oracle.script_flush()

    assert {"b": True, "c": True} == await aio_results.store_many({"b": 1, "c": 2})


@pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
def test_protection_by_serializer(server, serializer):
    """Ready records of every serializer are protected, whoever writes next."""
    options = {"serializer": serializer, "unsafe_pickle": True, "accept": "json,msgpack,pickle"}
    with coatcheck.by_url(server.url, **options) as first, coatcheck.by_url(server.url) as second:
        first.update_state("t", "PROGRESS", 1)
        assert first.store_result("t", 1)
        assert not first.store_result("t", 2)
        assert not second.store_result("t", 3)

        assert 1 == first.get_result("t")


def test_foreign_type(results, oracle):
    """A key that is no record is an error of the store, not a crash; reads find nothing."""
    oracle.rpush(KEY, "a list")

    with pytest.raises(coatcheck.BackendStoreError, match="WRONGTYPE"):
        results.store_result("t", 1)
    assert not results.exists("t")


def test_key_prefix(server, oracle):
    """The prefix of keys is an option, also in the URL."""
    with coatcheck.by_url(f"{server.url}?key_prefix=app:") as results:
        results.store_result("t", 1)
        results.wait_for("t", 5)

        assert [b"app:t"] == oracle.keys()
        assert ["t"] == [meta.task_id for meta in results.scan()]


def test_scan_is_limited_to_the_prefix(results, oracle):
    """Other people's keys are not scanned, even where the prefix has a pattern's characters."""
    oracle.set("other", "x")
    results.store_result("t", 1)
    pattern = results.backend.backend.scan("celery-task-meta-[t]")

    assert ["t"] == [meta.task_id for meta in results.scan()]
    assert [] == list(pattern)


def test_databases_are_apart(server):
    """A ring from another database is only a hint: the wait goes on."""
    with (
        coatcheck.by_url(server.url) as here,
        coatcheck.by_url(server.url.replace("/0", "/3")) as there,
    ):
        got: list[object] = []
        waiter = threading.Thread(target=lambda: got.append(here.wait_for("t", 30).result))
        waiter.start()
        time.sleep(0.1)
        there.store_result("t", "there")
        time.sleep(0.1)
        here.store_result("t", "here")
        waiter.join()

        assert ["here"] == got


def test_more_threads_than_connections(server):
    """Threads beyond the pool take turns."""
    with coatcheck.by_url(f"{server.url}?max_connections=2") as results:
        threads = [
            threading.Thread(target=results.store_result, args=(f"t{n}", n)) for n in range(50)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert 50 == len(list(results.scan()))
        assert len(results.backend.backend._link._pool._idle) <= 2


def test_scan_leaves_out_what_is_no_text(results, oracle):
    """Keys of others that are no text are not scanned, and do not end the scan."""
    oracle.set(b"celery-task-meta-\xff\xfe", "x")
    oracle.set("celery-task-meta-", "x")
    results.store_result("t", 1)

    assert ["t"] == [meta.task_id for meta in results.scan()]


async def test_scan_leaves_out_what_is_no_text_aio(aio_results, oracle):
    """Keys of others that are no text are not scanned, and do not end the scan."""
    oracle.set(b"celery-task-meta-\xff\xfe", "x")
    await aio_results.store_result("t", 1)

    assert ["t"] == [meta.task_id async for meta in aio_results.scan()]
