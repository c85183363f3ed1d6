"""
Servers that die, come back, or lose the place where a change stream would continue.
"""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from support.mongo import MongoServer, ReplicaSet, until

import coatcheck
import coatcheck.aio

#: Seconds for an election, and for waits across it.
DEADLINE = 60
WAITS = 100


@pytest.fixture
def three(tmp_path):
    """A replica set of three servers. A test may kill one of them."""
    with ReplicaSet(tmp_path) as servers:
        yield servers


@pytest.fixture
def one(tmp_path):
    """A replica set of one server, which may be killed."""
    with ReplicaSet(tmp_path, 1) as servers:
        yield servers


def store_all(results, ids, acknowledged):
    """Store each id until it is acknowledged, as a worker would that tries again."""
    for id_ in ids:
        while True:
            try:
                results.store_result(id_, id_, expires=None)
            except coatcheck.BackendUnavailableError:
                continue
            acknowledged.append(id_)
            break


def kill_primary_later(three, acknowledged):
    """Kill the primary when some have been stored."""
    until(lambda: len(acknowledged) >= 10)
    primary = three.primary
    primary.kill()
    three.wait_for_primary(other_than=primary)


def test_primary_dies(three):
    """Of 100 waits every one gets its result though the primary dies; no acknowledged store is lost."""
    ids = [f"t{n}" for n in range(WAITS)]
    acknowledged: list[str] = []
    got: list[object] = []
    with coatcheck.by_url(three.url) as results, coatcheck.by_url(three.url) as worker:
        waits = [
            threading.Thread(target=lambda i=id_: got.append(results.wait_for(i, DEADLINE).result))
            for id_ in ids
        ]
        for wait in waits:
            wait.start()
        storing = threading.Thread(target=store_all, args=(worker, ids, acknowledged))
        storing.start()
        kill_primary_later(three, acknowledged)
        for thread in (storing, *waits):
            thread.join(DEADLINE)

        assert sorted(ids) == sorted(got)
        assert {id_: id_ for id_ in acknowledged} == {
            id_: meta.result for id_, meta in worker.get_many(ids).items()
        }
        until(lambda: results.polling is None)


async def test_primary_dies_aio(three):
    """Of 100 waits every one gets its result though the primary dies; no acknowledged store is lost."""
    ids = [f"t{n}" for n in range(WAITS)]
    acknowledged: list[str] = []
    async with coatcheck.aio.by_url(three.url) as results:
        waits = [asyncio.create_task(results.wait_for(id_, DEADLINE)) for id_ in ids]
        with coatcheck.by_url(three.url) as worker:
            storing = asyncio.to_thread(store_all, worker, ids, acknowledged)
            killing = asyncio.to_thread(kill_primary_later, three, acknowledged)
            await asyncio.gather(storing, killing)
        metas = await asyncio.gather(*waits)

        assert ids == [meta.result for meta in metas]
        found = await results.get_many(ids)
        assert {id_: id_ for id_ in acknowledged} == {k: m.result for k, m in found.items()}


async def test_stores_go_on_aio(three):
    """Stores of asyncio are acknowledged before, during and after a failover, if they are repeated."""
    ids = [f"t{n}" for n in range(60)]
    acknowledged: list[str] = []

    async def store(results):
        for id_ in ids:
            while True:
                try:
                    await results.store_result(id_, id_)
                except coatcheck.BackendUnavailableError:
                    continue
                acknowledged.append(id_)
                break

    async with coatcheck.aio.by_url(three.url) as results:
        killing = asyncio.to_thread(kill_primary_later, three, acknowledged)
        await asyncio.gather(store(results), killing)

        found = await results.get_many(ids)
        assert {id_: id_ for id_ in ids} == {k: m.result for k, m in found.items()}


def test_primary_steps_down(three):
    """A wait and the stores go on over an election that nobody died for, without an error."""
    with coatcheck.by_url(three.url, operation_timeout=20) as results:
        results.store_result("warm", 1)
        got: list[object] = []
        wait = threading.Thread(target=lambda: got.append(results.wait_for("t", DEADLINE).result))
        wait.start()
        time.sleep(0.2)
        primary = three.primary
        primary.ask("replSetStepDown", 10)
        assert results.store_result("u", 2)
        assert results.store_result("t", 3)
        wait.join(DEADLINE)

        assert [3] == got


def killed_and_back(server, results):
    """Kill a server under an open wait, start it again, and store; return the results of the wait."""
    got: list[object] = []
    wait = threading.Thread(target=lambda: got.append(results.wait_for("t", DEADLINE).result))
    wait.start()
    time.sleep(0.3)
    server.kill()
    time.sleep(0.5)
    server.start()
    until(lambda: server.ask("hello")["isWritablePrimary"])
    with coatcheck.by_url(server.url) as other:
        until(lambda: other.store_result("t", 1) or other.exists("t"))
    wait.join(DEADLINE)
    return got


def test_server_is_killed(one):
    """A wait outlives a server that is killed and started again, and is woken again after that."""
    with coatcheck.by_url(one.url, operation_timeout=3) as results:
        results.store_result("before", 1)

        assert [1] == killed_and_back(one.servers[0], results)
        assert results.exists("before")
        with results.backend.watch(["u"]) as bell:
            until(lambda: bell.pushing)


def test_standalone_is_killed(tmp_path):
    """A wait on a server that stands alone outlives its end as well."""
    with (
        MongoServer(tmp_path) as server,
        coatcheck.by_url(server.url, operation_timeout=3) as results,
    ):
        assert [1] == killed_and_back(server, results)


async def test_server_is_killed_aio(one):
    """A wait outlives a server that is killed and started again."""
    server = one.servers[0]
    async with coatcheck.aio.by_url(one.url, operation_timeout=3) as results:
        wait = asyncio.create_task(results.wait_for("t", DEADLINE))
        await asyncio.sleep(0.3)
        server.kill()
        await asyncio.sleep(0.5)
        server.start()
        await asyncio.to_thread(until, lambda: server.ask("hello")["isWritablePrimary"])
        with coatcheck.by_url(one.url) as other:
            await asyncio.to_thread(other.store_result, "t", 1)

        assert 1 == (await wait).result
