"""
Clusters: nodes, and slots that move.
"""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from support.processes import free_port
from support.redis import RedisCluster, RedisServer, until

import coatcheck
import coatcheck.aio

PATIENCE = {"operation_timeout": 20}
PREFIX = "celery-task-meta-"
IDS = [f"t{n}" for n in range(300)]


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory):
    """Three primaries for the tests that leave the slots where they are in the end."""
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster):
    """That cluster, empty."""
    shared_cluster.flush()
    return shared_cluster


@pytest.fixture
def own_cluster(tmp_path, request):
    """A cluster that a test may break."""
    kind = getattr(request, "param", "redis")
    with RedisCluster(tmp_path, kind, options=("--cluster-node-timeout", "1000")) as cluster:
        yield cluster


@pytest.fixture
def results(cluster):
    """Synchronous results on the cluster."""
    with coatcheck.by_url(cluster.url) as results:
        yield results


@pytest.fixture
async def aio_results(cluster):
    """Results for asyncio on the cluster."""
    async with coatcheck.aio.by_url(cluster.url) as results:
        yield results


everywhere = pytest.mark.parametrize(
    "own_cluster",
    ["redis", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("redis8", "valkey"))],
    indirect=True,
)


def subscribers(node: RedisServer) -> int:
    """Return how many connections subscribe to something."""
    return len(node.ask("CLIENT", "LIST", "TYPE", "pubsub").splitlines())


def watched(cluster: RedisCluster) -> int:
    """Return how many channels somebody subscribes to."""
    return sum(len(node.ask("PUBSUB", "SHARDCHANNELS")) for node in cluster.nodes)


def test_batches(results, cluster):
    """Every record is on the node of its slot; reads, scans and deletions find all."""
    assert all(results.store_many({id_: n for n, id_ in enumerate(IDS)}).values())

    assert all(node.ask("DBSIZE") > 50 for node in cluster.nodes)
    assert IDS == [
        meta.task_id for meta in results.get_many([*IDS, "never"]).values() if meta.known
    ]
    assert sorted(IDS) == sorted(meta.task_id for meta in results.scan())
    assert len(IDS) == results.backend.delete_many([*IDS, "never"])
    assert [] == list(results.scan())


async def test_batches_aio(aio_results, cluster):
    """The same under asyncio."""
    assert all((await aio_results.store_many(dict.fromkeys(IDS, 1))).values())

    assert sorted(IDS) == sorted([meta.task_id async for meta in aio_results.scan()])
    assert len(IDS) == sum(m.known for m in (await aio_results.get_many(IDS)).values())
    assert len(IDS) == await aio_results.backend.delete_many(IDS)


def test_record(results, cluster):
    """The record is the same as everywhere. The published message does not carry it."""
    owner = cluster.owner(f"{PREFIX}t")
    with owner.client as client, client.pubsub() as pubsub:
        pubsub.ssubscribe(f"{PREFIX}t")
        pubsub.parse_response()
        results.store_result("t", 579)
        message = pubsub.parse_response(timeout=5)

    assert [b"smessage", f"{PREFIX}t".encode(), b""] == message
    assert 579 == json.loads(owner.ask("GET", f"{PREFIX}t"))["result"]
    assert 86_390_000 < owner.ask("PTTL", f"{PREFIX}t") <= 86_400_000


def test_script_is_brought(results, cluster):
    """A node that forgot the script gets it again; the others are not asked twice."""
    results.store_many(dict.fromkeys(IDS, 1))
    cluster.nodes[1].ask("SCRIPT", "FLUSH")

    assert [False] * len(IDS) == list(results.store_many(dict.fromkeys(IDS, 2)).values())
    assert all(results.store_many({f"new-{id_}": 2 for id_ in IDS}).values())


def test_foreign_type(results, cluster):
    """A key that is no record is an error to who writes, and absent to who reads."""
    cluster.owner(f"{PREFIX}t").ask("RPUSH", f"{PREFIX}t", "a list")

    assert not results.exists("t")
    with pytest.raises(coatcheck.BackendStoreError, match="WRONGTYPE"):
        results.store_result("t", 1)


def test_connections(cluster, results):
    """Hundreds of waiting threads hold one subscriber for each node, and all are woken."""
    got: list[str] = []
    threads = [
        threading.Thread(target=lambda id_=id_: got.append(results.wait_for(id_, 60).task_id))
        for id_ in IDS
    ]
    for thread in threads:
        thread.start()
    until(lambda: watched(cluster) == len(IDS))
    held = [subscribers(node) for node in cluster.nodes]
    with coatcheck.by_url(cluster.url) as writer:
        writer.store_many(dict.fromkeys(IDS, 1))
    for thread in threads:
        thread.join()

    assert [1, 1, 1] == held
    assert sorted(IDS) == sorted(got)
    assert results.polling is None
    until(lambda: watched(cluster) == 0)


async def test_connections_aio(cluster, aio_results):
    """The same under asyncio."""
    waits = [asyncio.create_task(aio_results.wait_for(id_, 60)) for id_ in IDS]
    await asyncio.to_thread(until, lambda: watched(cluster) == len(IDS))
    held = [subscribers(node) for node in cluster.nodes]
    await aio_results.store_many(dict.fromkeys(IDS, 1))

    assert IDS == [meta.task_id for meta in await asyncio.gather(*waits)]
    assert [1, 1, 1] == held
    assert aio_results.polling is None


def connected(cluster: RedisCluster) -> int:
    """Return how many connections there are by TCP, which the tests' own are not."""
    lists = [node.ask("CLIENT", "LIST").splitlines() for node in cluster.nodes]
    return sum(b" laddr=127.0.0.1" in client for clients in lists for client in clients)


async def test_close_gives_up_all(cluster):
    """A closed client holds nothing of any node."""
    until(lambda: connected(cluster) == 0)
    results, aio_results = coatcheck.by_url(cluster.url), coatcheck.aio.by_url(cluster.url)
    results.store_many(dict.fromkeys(IDS, 1))
    results.wait_for("t0", 60)
    await aio_results.store_many(dict.fromkeys(IDS, 1))
    await aio_results.wait_for("t0", 60)
    assert connected(cluster) >= 6
    results.close()
    await aio_results.close()

    until(lambda: connected(cluster) == 0)


async def test_rights(cluster):
    """The rights that the documentation names are enough."""
    rights = "+evalsha +eval +get +getrange +set +spublish +ssubscribe +sunsubscribe +ping +asking"
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "u", "on", ">pw", "~*", f"&{PREFIX}*", "+cluster|slots", *rights.split())  # fmt: skip
    url = cluster.url.replace("://", "://u:pw@")
    with coatcheck.by_url(url) as results:
        threading.Timer(0.2, results.store_many, (dict.fromkeys(IDS, 1),)).start()
        assert len(IDS) == len(list(results.as_completed(IDS, timeout=60)))
        assert results.polling is None
        with pytest.raises(coatcheck.BackendStoreError, match="'del'"):
            results.forget("t0")


# -- slots that move ------------------------------------------------------------------------


@everywhere
async def test_slot_moves(own_cluster):
    """A slot moves in the middle of waits: who listens follows, and records are not lost."""
    await move_in_the_middle(own_cluster, own_cluster.migrate)


@pytest.mark.long
@pytest.mark.parametrize("own_cluster", ["valkey"], indirect=True)
async def test_slot_moves_at_once(own_cluster):
    """The same by Valkey's own, atomic migration."""

    def migrate(key: str, to: RedisServer) -> None:
        source, slot = own_cluster.owner(key), source_slot(own_cluster, key)
        source.ask(
            "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", own_cluster.id_of(to)
        )
        until(lambda: own_cluster.owner(key) is to)

    await move_in_the_middle(own_cluster, migrate)


def source_slot(cluster: RedisCluster, key: str) -> int:
    """Return the slot of *key*, as the servers say."""
    return cluster.nodes[0].ask("CLUSTER", "KEYSLOT", key)


async def move_in_the_middle(cluster: RedisCluster, migrate) -> None:
    """Move the slot of a task that runs and is waited for, and finish the task then."""
    key = f"{PREFIX}{{moving}}"
    running, fresh, read = "{moving}", "{moving}-fresh", "{moving}-read"
    with coatcheck.by_url(cluster.url, **PATIENCE) as results:
        async with coatcheck.aio.by_url(cluster.url, **PATIENCE) as aio_results:
            results.mark_as_started(running)
            assert results.store_result(read, "before")
            waits = [asyncio.create_task(aio_results.wait_for(id_, 60)) for id_ in (running, fresh)]
            got: list[str] = []
            thread = threading.Thread(
                target=lambda: got.extend(
                    meta.task_id for meta in results.as_completed([running, fresh], timeout=60)
                )
            )
            thread.start()
            await asyncio.to_thread(until, lambda: watched(cluster) == 2)
            source = cluster.owner(key)
            target = next(node for node in cluster.nodes if node is not source)

            await asyncio.to_thread(migrate, key, target)
            # Both sides subscribe anew, without being told anything by anybody else.
            channels = target.ask("PUBSUB", "SHARDCHANNELS")
            await asyncio.to_thread(until, lambda: target.ask("PUBSUB", "SHARDNUMSUB", key)[1] == 2)
            assert results.store_result(running, 1)
            assert await aio_results.store_result(fresh, 2)
            metas = await asyncio.gather(*waits)
            await asyncio.to_thread(thread.join, 60)

            assert [1, 2] == [meta.result for meta in metas]
            assert {running, fresh} == set(got)
            assert len(channels) <= 2
            assert not results.store_result(read, "after")
            assert "before" == (await aio_results.get_task_meta(read)).result
            assert results.polling is None


@everywhere
async def test_slot_on_its_way(own_cluster):
    """While a slot is between two nodes, records are stored, read and heard of all the same."""
    key = f"{PREFIX}{{moving}}"
    source = own_cluster.owner(key)
    target = next(node for node in own_cluster.nodes if node is not source)
    with coatcheck.by_url(own_cluster.url, **PATIENCE) as results:
        async with coatcheck.aio.by_url(own_cluster.url, **PATIENCE) as aio_results:
            assert results.store_result("{moving}-old", 1)
            own_cluster.start_migration(key, target)
            backend, aio_backend = results.backend.backend, aio_results.backend.backend
            with backend.watch([f"{key}-a"]) as bell:
                async with aio_backend.watch([f"{key}-b"]) as aio_bell:
                    assert bell.pushing
                    assert aio_bell.pushing
                    assert results.store_result("{moving}-a", 1)
                    assert await aio_results.store_result("{moving}-b", 1)

                    assert {f"{key}-a"} == set(bell.wait(60))
                    assert {f"{key}-b"} == set(await aio_bell.wait(60))
            assert not results.store_result("{moving}-a", 2)
            assert not await aio_results.store_result("{moving}-old", 2)
            ids = ["{moving}-old", "{moving}-a", "{moving}-b"]
            assert [1, 1, 1] == [meta.result for meta in results.get_many(ids).values()]
            own_cluster.end_migration(key, source, target)
            found = (await aio_results.get_many(ids)).values()

            assert [1, 1, 1] == [meta.result for meta in found]


@pytest.mark.long
async def test_many_slots_move(own_cluster):
    """Slots move by the hundred while there are stores, reads and waits everywhere."""
    ids = [f"t{n}" for n in range(2000)]
    first, *others = own_cluster.nodes
    keys = [f"{PREFIX}{id_}" for id_ in ids if own_cluster.owner(f"{PREFIX}{id_}") is first]
    with coatcheck.by_url(own_cluster.url, **PATIENCE) as results:
        async with coatcheck.aio.by_url(own_cluster.url, **PATIENCE) as aio_results:
            waits = [asyncio.create_task(aio_results.wait_for(id_, 120)) for id_ in ids]
            results.store_many(dict.fromkeys(ids[:500], 1))

            def move() -> None:
                for n, key in enumerate(keys[:200]):
                    if own_cluster.owner(key) is first:
                        own_cluster.migrate(key, others[n % 2])

            moving = asyncio.create_task(asyncio.to_thread(move))
            for n in range(500, 2000, 100):
                stored = await asyncio.to_thread(
                    results.store_many, dict.fromkeys(ids[n : n + 100], 1)
                )
                assert all(stored.values())
            await moving

            assert ids == [meta.task_id for meta in await asyncio.gather(*waits)]
            assert sorted(ids) == sorted(meta.task_id for meta in results.scan())


# -- nodes that die -------------------------------------------------------------------------


@pytest.mark.long
async def test_failover(own_cluster):
    """A primary dies in the middle of waits, and its replica takes over."""
    victim = own_cluster.nodes[0]
    own_cluster.add_replica(victim)
    with coatcheck.by_url(own_cluster.url, **PATIENCE) as results:
        async with coatcheck.aio.by_url(own_cluster.url, **PATIENCE) as aio_results:
            waits = [asyncio.create_task(aio_results.wait_for(id_, 60)) for id_ in IDS[:150]]
            got: list[str] = []
            thread = threading.Thread(
                target=lambda: got.extend(
                    meta.task_id for meta in results.as_completed(IDS[150:], timeout=60)
                )
            )
            thread.start()
            await asyncio.to_thread(until, lambda: watched(own_cluster) == len(IDS))
            victim.kill()
            stored = [await asyncio.to_thread(results.store_result, id_, 1) for id_ in IDS]
            metas = await asyncio.gather(*waits)
            await asyncio.to_thread(thread.join, 60)

            assert all(stored)
            assert IDS[:150] == [meta.task_id for meta in metas]
            assert sorted(IDS[150:]) == sorted(got)


@pytest.mark.long
async def test_node_restarts(own_cluster):
    """Without a replica the cluster is down until the node is back: CLUSTERDOWN is waited for."""
    victim = own_cluster.nodes[2]
    with coatcheck.by_url(own_cluster.url, operation_timeout=60) as results:
        wait = asyncio.create_task(asyncio.to_thread(results.wait_for, "last", 60))
        await asyncio.to_thread(until, lambda: watched(own_cluster) == 1)
        victim.kill()
        await asyncio.to_thread(
            until, lambda: b"state:fail" in own_cluster.nodes[0].ask("CLUSTER", "INFO")
        )
        starting = asyncio.create_task(asyncio.to_thread(victim.start))

        assert all((await asyncio.to_thread(results.store_many, dict.fromkeys(IDS, 1))).values())
        assert results.store_result("last", 1)
        assert 1 == (await wait).result
        await starting


async def test_nobody_is_there():
    """If no node can be reached, the error names the cluster and its nodes."""
    url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}?operation_timeout=0.2"
    with (
        coatcheck.by_url(url) as results,
        pytest.raises(coatcheck.BackendUnavailableError, match=r"the cluster of 127.0.0.1:"),
    ):
        results.store_result("t", 1)
    async with coatcheck.aio.by_url(url) as aio_results:
        with pytest.raises(coatcheck.WaitTimeoutError) as caught:
            await aio_results.wait_for("t", 0.5)
        assert "the cluster of" in str(caught.value.__cause__)


# -- mistaken URLs ---------------------------------------------------------------------------


def test_scheme_for_a_cluster(cluster):
    """A URL for one server that leads to a node of a cluster is answered with the right scheme."""
    with (
        coatcheck.by_url(cluster.nodes[0].url) as results,
        pytest.raises(coatcheck.BackendStoreError, match=r"use redis\+cluster://"),
    ):
        for id_ in IDS:
            results.store_result(id_, 1)


def test_scheme_for_a_server(server):
    """A URL for a cluster that leads to one server is answered with the server's words."""
    with (
        coatcheck.by_url(server.url.replace("redis:", "redis+cluster:")) as results,
        pytest.raises(coatcheck.BackendError, match="cluster support disabled"),
    ):
        results.store_result("t", 1)


async def test_no_sharded_channels(tmp_path):
    """Where there is no sharded pub/sub, as before Redis 7, waits look by themselves."""
    old = ("--rename-command", "SSUBSCRIBE", "", "--rename-command", "SPUBLISH", "")
    with RedisCluster(tmp_path, nodes=1, options=old) as cluster:
        async with coatcheck.aio.by_url(cluster.url) as aio_results:
            wait = asyncio.create_task(aio_results.wait_for("t", 60))
            with coatcheck.by_url(cluster.url) as results:
                threading.Timer(0.2, results.store_result, ("t", 1)).start()

                assert 1 == results.wait_for("t", 60).result
                assert "unknown command" in str(results.polling)
            assert 1 == (await wait).result
            assert "unknown command" in str(aio_results.polling)


@pytest.mark.long
async def test_tls(tmp_path, tls_options):
    """With rediss+cluster:// every node is spoken to by TLS."""
    port = free_port()
    options = (*tls_options, "--tls-cluster", "yes", "--tls-port", str(port))
    authority = tls_options[tls_options.index("--tls-ca-cert-file") + 1]
    url = f"rediss+cluster://127.0.0.1:{port}?ssl_ca_certs={authority}"
    with RedisCluster(tmp_path, nodes=1, options=options), coatcheck.by_url(url) as results:
        assert all(results.store_many(dict.fromkeys(IDS, 1)).values())
        async with coatcheck.aio.by_url(url) as aio_results:
            wait = asyncio.create_task(aio_results.wait_for("u", 60))
            assert results.store_result("u", 1)
            assert 1 == (await wait).result
