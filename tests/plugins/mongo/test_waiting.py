"""
The ways to wake a wait: a change stream, and polling where the server has none.
"""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial

import pytest
from support.mongo import ReplicaSet, until

import coatcheck
import coatcheck.aio
from coatcheck.plugin import Backoff
from coatcheck.testing.awaited import awaited, driven
from coatcheck.testing.contract.bells import heard
from coatcheck.testing.proxy import Proxy
from coatcheck_mongo import asyncio as asyncio_backend
from coatcheck_mongo import stream as streams

DEADLINE = 30
#: Looks into the backend that uses the driver's side for asyncio.
NATIVE = pytest.mark.skipif(
    not asyncio_backend.has_asyncio(), reason="the driver is so old that threads serve asyncio"
)


def waiting(results, *ids):
    """Start a wait for each id, and return their results."""
    got: dict[str, object] = {}

    def wait(id_):
        got[id_] = results.wait_for(id_, DEADLINE).result

    threads = [threading.Thread(target=wait, args=[id_]) for id_ in ids]
    for thread in threads:
        thread.start()
    return got, threads


def test_push_on_a_set(results):
    """On a replica set waits are woken, and which way it is can be asked for."""
    with results.backend.watch(["t"]) as bell:
        assert (True, False, 0.0) == (bell.pushing, bell.unready, bell.lag)
        assert results.polling is None


def test_looks_on_a_standalone_server(standalone):
    """A server that stands alone has no streams: waits look, and say why."""
    with coatcheck.by_url(standalone.url) as results:
        got, threads = waiting(results, "t")
        until(lambda: results.polling is not None)
        results.store_result("t", 1)
        for thread in threads:
            thread.join(DEADLINE)

        assert {"t": 1} == got
        assert "replica sets" in str(results.polling)


@NATIVE
async def test_looks_on_a_standalone_server_aio(standalone):
    """A server that stands alone has no streams: waits look, and say why."""
    async with coatcheck.aio.by_url(standalone.url) as results:
        wait = asyncio.create_task(results.wait_for("t", DEADLINE))
        await asyncio.sleep(0.1)
        await results.store_result("t", 1)

        assert 1 == (await wait).result
        assert "replica sets" in str(results.polling)


def test_push_can_be_switched_off(server):
    """With push=0 no stream is opened, and nothing is wrong."""
    with coatcheck.by_url(f"{server.url}?push=0") as results:
        assert coatcheck.Capability.PUSH not in results.backend.capabilities
        with results.backend.watch(["t"]) as bell:
            assert not bell.pushing
        assert results.polling is None


def test_ready_over_expired_of_the_same_state(results, oracle):
    """A record over one that has expired rings, although its state is the same."""
    results.store_result("t", 1, expires=0.05)
    until(lambda: not results.exists("t"))
    with results.backend.watch(["t"]) as bell:
        results.store_result("t", 2)

        assert "t" in bell.wait(DEADLINE)


def test_rings_for_what_celery_writes(results, oracle):
    """A replaced document rings as well, as Celery writes them."""
    oracle.insert_one({"_id": "t", "status": "STARTED"})
    with results.backend.watch(["t"]) as bell:
        oracle.replace_one({"_id": "t"}, {"_id": "t", "status": "SUCCESS", "result": "1"})

        assert "t" in bell.wait(DEADLINE)


def test_progress_is_looked_for(results):
    """Progress comes though the stream does not tell of it."""
    got = []
    results.update_state("t", "PROGRESS", 0)
    for meta in results.AsyncResult("t").updates(timeout=DEADLINE):
        got.append(meta.result)
        if len(got) < 3:
            results.update_state("t", "PROGRESS", len(got))
        else:
            results.store_result("t", "end")

    assert [0, 1, 2, "end"] == got


def test_late_rings_are_not_waited_for(server):
    """With w=1 a ring comes late, so waits look as well, and see records that are not yet replicated."""
    with coatcheck.by_url(f"{server.url}?w=1") as results:
        with results.backend.watch() as bell:
            assert bell.pushing
            assert bell.lag > 0
        got, threads = waiting(results, "t")
        time.sleep(0.05)
        results.store_result("t", 1)
        assert 1 == results.get_result("t")
        for thread in threads:
            thread.join(DEADLINE)

        assert {"t": 1} == got


def test_what_is_waited_for_is_read_from_the_primary(server):
    """Reads go to the servers that the user chose; records that somebody waits for are read from the primary."""
    url = f"mongodb://127.0.0.1:{server.port}/results?replicaSet=rs&readPreference=secondary"
    with coatcheck.by_url(url, operation_timeout=3) as results:
        results.store_result("t", 1)

        assert 1 == results.wait_for("t", DEADLINE).result
        # Of another id, as the hub may let go of the first one a moment after the wait.
        with pytest.raises(coatcheck.BackendUnavailableError):
            results.get_result("nobody-waits-for-it")


@pytest.fixture
def hasty(monkeypatch):
    """One count of events is short, and so is the pause after too many of them."""
    monkeypatch.setattr(streams, "WINDOW", 0.05)
    monkeypatch.setattr(streams, "Backoff", partial(Backoff, refused=1.0))


def write_much(server, link):
    """Store records that nobody waits for until *link* no longer listens."""
    numbers = iter(range(100_000))
    with coatcheck.by_url(server.url) as others:
        until(
            lambda: (
                others.store_many({f"u{next(numbers)}": 1 for _ in range(50)})
                and "events a second" in str(link.polling)
            )
        )


def test_too_many_events(server, hasty):
    """Where others write very much waits look for a while, and are woken again after that."""
    with coatcheck.by_url(f"{server.url}?push_limit=20") as results:
        got, threads = waiting(results, "t")
        write_much(server, results.backend)
        until(lambda: results.polling is None)
        results.store_result("t", 1)
        for thread in threads:
            thread.join(DEADLINE)

        assert {"t": 1} == got


@NATIVE
async def test_too_many_events_aio(server, hasty):
    """Where others write very much waits look for a while, and are woken again after that."""
    async with coatcheck.aio.by_url(f"{server.url}?push_limit=20") as results:
        wait = asyncio.create_task(results.wait_for("t", DEADLINE))
        link = results.backend._links.get()
        await asyncio.to_thread(write_much, server, link)
        await asyncio.to_thread(until, lambda: link.polling is None)
        await results.store_result("t", 1)

        assert 1 == (await wait).result


@pytest.fixture
def small(tmp_path):
    """A replica set with a small oplog, whose end is cut off as soon as it is on the disk."""
    with ReplicaSet(tmp_path, 1, ("--syncdelay", "1")) as servers:
        yield servers.primary


def roll_over(server):
    """Fill the oplog until it forgets its beginning."""
    oplog = server.client.local["oplog.rs"]
    first = oplog.find_one(sort=[("$natural", 1)])
    while oplog.find_one(sort=[("$natural", 1)]) == first:
        server.client.other.junk.replace_one({"_id": 0}, {"x": "x" * 4_000_000}, upsert=True)


def overheard(bell):
    """Have only those rings count that come after the stream opened again; return its errors."""
    listener, errors = bell._feed, []
    failed, opened = listener.failed, listener.opened
    listener.failed = lambda error: errors.append(error) or failed(error)
    listener.opened = lambda: listener.rang.clear() or opened()
    return errors


def test_stale_token(small):
    """If the server has forgotten the events since then, a new stream opens and all keys ring."""
    proxy = Proxy("127.0.0.1", small.port)
    url = f"mongodb://127.0.0.1:{proxy.port}/results?directConnection=true"
    with proxy, coatcheck.by_url(url, operation_timeout=1) as results:
        with results.backend.watch(["t"]) as bell:
            errors = overheard(bell)
            proxy.refuse()
            proxy.cut()
            until(lambda: not bell.pushing)
            roll_over(small)
            proxy.accept()
            until(lambda: bell.pushing)

            assert 286 in [getattr(error, "code", None) for error in errors]
            assert driven(heard(awaited(bell), "t"))


@NATIVE
async def test_stale_token_aio(small):
    """If the server has forgotten the events since then, a new stream opens and all keys ring."""
    proxy = Proxy("127.0.0.1", small.port)
    url = f"mongodb://127.0.0.1:{proxy.port}/results?directConnection=true"
    with proxy:
        async with (
            coatcheck.aio.by_url(url, operation_timeout=1) as results,
            results.backend.watch(["t"]) as bell,
        ):
            errors = overheard(bell)
            proxy.refuse()
            proxy.cut()
            await asyncio.to_thread(until, lambda: not bell.pushing)
            await asyncio.to_thread(roll_over, small)
            proxy.accept()
            await asyncio.to_thread(until, lambda: bell.pushing)

            assert 286 in [getattr(error, "code", None) for error in errors]
            assert await heard(bell, "t")


def test_a_bell_makes_no_client_after_the_link_was_closed(results):
    """A bell that outlives its client connects no more: nobody would close the new client."""
    with results.backend.watch(["t"]) as bell:
        errors = overheard(bell)
        bell._link.close()
        until(lambda: len(errors) > 1)

        assert bell._link._client is None
        results.store_result("t", 1)  # the next operation makes one
        assert bell._link._client is not None


@NATIVE
async def test_a_bell_makes_no_client_after_the_link_was_closed_aio(aio_results):
    """A bell that outlives its client connects no more: nobody would close the new client."""
    async with aio_results.backend.watch(["t"]) as bell:
        errors = overheard(bell)
        await bell._link.close()
        await asyncio.to_thread(until, lambda: len(errors) > 1)

        assert bell._link._client is None
        await aio_results.store_result("t", 1)  # the next operation makes one
        assert bell._link._client is not None


def test_dropped_collection(results, oracle):
    """A collection that is dropped does not end the subscription to later records."""
    results.store_result("before", 1)
    with results.backend.watch(["t"]) as bell:
        oracle.drop()
        until(lambda: not bell.pushing or bell.wait(0.01))
        until(lambda: bell.pushing)
        results.store_result("t", 1)
        rang = set()
        until(lambda: rang.update(bell.wait(0.1)) or "t" in rang)


def test_one_stream_for_many_waits(results, server):
    """A hundred waits have one stream, and none is left when they are over."""

    def cursors():
        return server.ask("serverStatus")["metrics"]["cursor"]["open"]["total"]

    before = cursors()
    ids = [f"t{n}" for n in range(100)]
    got, threads = waiting(results, *ids)
    until(lambda: cursors() == before + 1)
    results.store_many(dict.fromkeys(ids, 1))
    for thread in threads:
        thread.join(DEADLINE)

    assert dict.fromkeys(ids, 1) == got
    until(lambda: cursors() == before)
