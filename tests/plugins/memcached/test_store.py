"""
The content of the server after a store, read without coatcheck.
"""

from __future__ import annotations

import json
import time

import pytest
from support.memcached import MemcachedServer, raw

import coatcheck
from coatcheck_memcached.names import name_of
from coatcheck_memcached.steps import MARGIN

KEY = "celery-task-meta-t"


def left(oracle, key: str) -> int:
    """Return the seconds that the server counts down from; -1 where it does not."""
    return int(raw(oracle, f"mg {key} t".encode()).removeprefix(b"HD t"))


def test_record(results, oracle):
    """The record is JSON in Celery's order, under Celery's key, for a day, and without flags."""
    results.store_result("t", 579, name="add")
    document = json.loads(oracle.get(KEY))

    assert ["status", "result", "traceback", "children", "date_done", "name", "task_id"] == list(
        document
    )[:7]
    assert 86_400 + MARGIN >= left(oracle, KEY) > 86_400
    assert b"HD f0" == raw(oracle, f"mg {KEY} f".encode())


@pytest.mark.parametrize("flags", [0, 16, 2, 4, 1])
def test_flags_are_ignored(results, oracle, flags):
    """Flags of other clients are ignored: the bytes are the record, and nothing is unpickled."""
    oracle.set(KEY, b'{"status": "SUCCESS", "result": [1], "task_id": "t"}', flags=flags)

    assert [1] == results.get_result("t")
    assert not results.store_result("t", 2)


@pytest.mark.parametrize("days", [29, 30, 31, 365])
def test_long_lives(results, oracle, days):
    """More than 30 days are told as a date, by the server's own clock."""
    results.store_result("t", 1, expires=days * 86_400)

    # Of a date, rounded up, after a clock that may be two seconds late.
    assert 0 <= left(oracle, KEY) - days * 86_400 <= MARGIN + 2


def test_life_beyond_the_servers_calendar(results, oracle):
    """A record that would expire after 2038 is kept: the server cannot count that far."""
    results.store_result("t", 1, expires=50 * 365 * 86_400)

    assert left(oracle, KEY) == -1


def test_group_lives_as_long_as_it_is_to(results, oracle):
    """Groups are kept under Celery's key, and for as long as records."""
    results.ResultSet(["a"]).save("g", expires=60)

    assert 60 < left(oracle, "celery-taskset-meta-g") <= 60 + MARGIN


@pytest.fixture
def sent(monkeypatch):
    """The first words of all that is sent."""
    from coatcheck_memcached.sockets import Socket

    words = []
    send = Socket.sendall
    monkeypatch.setattr(
        Socket, "sendall", lambda self, data: (words.append(data.split()[0]), send(self, data))
    )
    return words


def test_round_trips(results, sent):
    """A store is one round trip, over one's own unready record as well; a read is one."""
    results.store_result("warm", 1)
    results.get_many([f"u{n}" for n in range(500)])  # how large records are is not known before
    sent.clear()
    results.mark_as_started("t")
    results.update_state("t", "PROGRESS", 1)
    assert [b"ms", b"ms"] == sent
    assert results.store_result("t", 1)
    assert [b"cas"] == sent[2:]
    assert not results.store_result("t", 2)
    assert [b"gets"] == sent[3:]
    results.get_result("t")
    assert [b"get"] == sent[4:]
    results.store_many({f"u{n}": n for n in range(500)})
    assert [b"add"] == sent[5:]
    results.get_many([f"u{n}" for n in range(500)])
    assert [b"get"] == sent[6:]
    results.store_result("large", "x" * 50_000)
    assert [b"add"] == sent[7:]


def test_round_trips_over_the_records_of_others(server, results, sent):
    """A store over the unready record of another process is three round trips."""
    results.store_result("warm", 1)
    with coatcheck.by_url(server.url) as others:
        others.mark_as_started("t")
    sent.clear()

    assert results.store_result("t", 1)
    assert [b"add", b"gets", b"cas"] == sent


def test_round_trips_to_an_old_server(results, sent, monkeypatch):
    """A server that does not tell tokens is asked for them: a replacement takes two round trips."""
    from coatcheck_memcached import connection

    monkeypatch.setattr(connection, "_TELLING", (99, 0, 0))
    results.store_result("warm", 1)
    sent.clear()
    results.mark_as_started("t")
    assert results.store_result("t", 1)

    assert [b"add", b"gets", b"cas"] == sent


# -- tokens -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "REVOKED"])
def test_own_record_that_another_replaced(results, oracle, status):
    """The token of one's own unready record does not replace a record of somebody else."""
    results.mark_as_started("t")
    oracle.set(KEY, b'{"status": "%b", "result": 1}' % status.encode())

    assert not results.store_result("t", 2)
    assert status == results.get_state("t")


def test_own_record_that_is_gone(results, oracle):
    """Where one's own unready record was deleted or evicted, the next one is the first again."""
    results.mark_as_started("t")
    oracle.delete(KEY)

    assert results.store_result("t", 1)
    assert 1 == results.get_result("t")


def test_own_record_that_is_protected(results):
    """The token does not replace a record that the call protects."""
    results.mark_as_started("t")
    assert not results.store_result("t", 1, protect=["STARTED"])
    assert not results.expect("t")
    assert results.store_result("t", 1, protect=["FAILURE"])
    assert results.store_result("t", 2, protect=["FAILURE"])
    assert not results.store_result("t", 3)

    assert 2 == results.get_result("t")


def test_token_of_a_server_that_was_restarted(own_server):
    """A token counts for the server that gave it, not for one that has counted as far since."""
    with coatcheck.by_url(own_server.url) as results:
        results.mark_as_started("t")
        token = own_server.ask("mg", KEY, "c")
        own_server.kill()
        own_server.start()
        with own_server.client as client:
            client.set(KEY, b'{"status": "SUCCESS", "result": 1}')
        assert token == own_server.ask("mg", KEY, "c")

        assert not results.store_result("t", 2)
        assert 1 == results.get_result("t")


def test_token_of_another_connection(results, server):
    """A token counts on the connection that it came over; elsewhere it is asked for."""
    results.mark_as_started("t")
    results.backend.backend.close()

    assert results.store_result("t", 1)
    assert not results.store_result("t", 2)


# -- keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a", "x" * 250, "!~", "celery-task-meta-" + "0" * 36, "~" * 65])
def test_plain_names(key):
    """A key that can be a name is its own name."""
    assert key == name_of(key)


@pytest.mark.parametrize(
    "key", ["x" * 251, "a b", "a\n", "\x7f", "☃", "", "é" * 200, "y~" + "0" * 64]
)
def test_hashed_names(key):
    """A key that cannot be a name, or looks like a hashed one, is hashed to a name."""
    name = name_of(key)

    assert name != key
    assert len(name) <= 250
    assert name.isascii()
    assert name.isprintable()
    assert " " not in name
    assert name_of(key + "x") != name


def test_the_longest_name_is_the_servers(results, oracle):
    """A name of 250 bytes is taken by the server as it is, and the id of a hashed one is kept."""
    longest = "x" * (250 - len("celery-task-meta-"))
    results.store_many({longest: 1, longest + "x": 2})

    assert oracle.get("celery-task-meta-" + longest) is not None
    hashed = json.loads(oracle.get(name_of(f"celery-task-meta-{longest}x")))
    assert longest + "x" == hashed["task_id"]


# -- sizes ----------------------------------------------------------------------------------


def test_limit_is_asked_for():
    """The server tells the limit for an item. A larger one raises an error, and is never sent."""
    with MemcachedServer(("-I", "2m")) as server, coatcheck.by_url(server.url) as results:
        limit = 2 * 1024 * 1024
        with pytest.raises(coatcheck.ResultTooLargeError) as caught:
            results.store_result("t", "x" * limit)
        assert ("t", True) == (caught.value.task_id, caught.value.limit < limit)
        assert limit - 500 < results.backend.backend.max_value_bytes < limit
        assert results.store_result("u", "x" * (limit - 2_000))

        assert "FAILURE" == results.wait_for("t", 5).status
        with server.client as client:
            assert 0 == client.stats()[b"store_too_large"]


def test_largest_record(server):
    """A record of exactly the limit is taken by the server."""
    with coatcheck.by_url(server.url) as results:
        results.store_result("x" * (250 - len("celery-task-meta-")), 1)
        backend = results.backend.backend
        limit = backend.max_value_bytes
        key = "k" * 250

        assert backend.put(key, b"x" * limit, unless=frozenset({"SUCCESS"}), expires=60)
        assert limit == len(backend.get_many([key])[key])


def test_limit_said_by_hand(server):
    """Where the limit is said by hand it is not asked for; the server's word counts all the same."""
    with coatcheck.by_url(server.url, max_item_size=5_000_000) as results:
        with pytest.raises(coatcheck.ResultTooLargeError, match="'t'"):
            results.store_result("t", "x" * 2_000_000)
        with pytest.raises(coatcheck.ResultTooLargeError):
            results.store_many({"a": 1, "b": "x" * 2_000_000})

        assert ["FAILURE", "SUCCESS", "FAILURE"] == [results.get_state(i) for i in "tab"]
    with coatcheck.by_url(server.url, max_item_size=5_000) as results:
        with pytest.raises(coatcheck.ResultTooLargeError):
            results.store_result("t", "x" * 5_000)


def test_smallest_of_several():
    """Of several servers the smallest limit counts for all, since any key may be anywhere."""
    with MemcachedServer() as one, MemcachedServer(("-I", "2m")) as other:
        url = f"memcached://{one.place};{other.place}"
        with coatcheck.by_url(url) as results:
            results.store_many(dict.fromkeys(map(str, range(50)), 1))
            limit = results.backend.backend.max_value_bytes

            assert limit < 1024 * 1024


def test_server_without_memory():
    """If nothing may be evicted, a full server refuses, and keeps its records."""
    with MemcachedServer(("-M", "-m", "2", "-o", "no_lru_crawler")) as server:
        with coatcheck.by_url(server.url) as results:
            with pytest.raises(coatcheck.BackendStoreError, match="out of memory"):
                for n in range(200):
                    results.store_result(f"t{n}", "x" * 100_000)

            assert results.exists("t0")


@pytest.mark.parametrize("options", [{}, {"max_item_size": 1_000_000}])
def test_server_without_cas(options):
    """A server that cannot replace safely takes first records. The error names the missing feature."""
    with MemcachedServer(("-C",)) as server, coatcheck.by_url(server.url, **options) as results:
        assert results.store_result("t", 1)
        assert not results.store_result("t", 2)
        results.mark_as_started("u")
        with pytest.raises(coatcheck.BackendStoreError, match="-C"):
            results.store_result("u", 1)


def test_expired_in_time(results):
    """A record lives for as long as was asked for at least, however the server's seconds lie."""
    lives, stored = [], {}
    for n in range(20):
        stored[f"t{n}"] = time.monotonic()
        results.store_result(f"t{n}", 1, expires=1)
        time.sleep(0.05)
    ids = set(stored)
    while ids:
        found = results.get_many(ids)
        now = time.monotonic()
        gone = {id_ for id_, meta in found.items() if not meta.known}
        lives += [now - stored[id_] for id_ in gone]
        ids -= gone
        time.sleep(0.01)

    assert min(lives) >= 1


def test_groups_are_set(results, sent):
    """Saving a group, where the last save wins, is one round trip each time."""
    results.ResultSet(["a"]).save("g")
    sent.clear()
    results.ResultSet(["b"]).save("g")

    assert [b"set"] == sent
    assert ["b"] == results.restore_group("g").task_ids
