"""
Sentinels: the way to the master, and the cost of a failover.
"""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest
from support.processes import free_port
from support.redis import RedisServer, Sentinel, Sentinels, until

import coatcheck
import coatcheck.aio

#: Longer than any failover here takes.
PATIENCE = {"operation_timeout": 20}
WAITS = 100


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """A master, a replica and sentinels, with passwords, which nobody disturbs."""
    with Sentinels(
        tmp_path_factory.mktemp("sentinel"), password="pw", sentinel_password="theirs"
    ) as servers:
        yield servers


@pytest.fixture
def sentinels(tmp_path, request):
    """The same for one test."""
    kind = getattr(request, "param", "redis")
    with Sentinels(tmp_path, kind, password="pw", sentinel_password="theirs") as servers:
        yield servers


def test_store_and_wait(quiet):
    """A store goes to the master, a wait is woken."""
    with coatcheck.by_url(quiet.url) as results:
        threading.Timer(0.2, results.store_result, ("t", 1)).start()

        assert 1 == results.wait_for("t", 30).result
        assert results.polling is None
        assert quiet.master.ask("EXISTS", "celery-task-meta-t")


async def test_store_and_wait_aio(quiet):
    """The same under asyncio."""
    async with coatcheck.aio.by_url(quiet.url) as results:
        wait = asyncio.create_task(results.wait_for("u", 30))
        await results.store_result("u", 1)

        assert 1 == (await wait).result
        assert results.polling is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("the-master", "no-master", "no sentinel knows this master"),
        ("theirs", "wrong", "refuses the user or password: sentinel"),
        (":pw@", ":wrong@", "refuses the user or password"),
        ("the-master", "the-master&min_other_sentinels=9", "too few others"),
    ],
)
async def test_what_is_wrong(quiet, old, new, message):
    """A wrong name, wrong passwords and too few sentinels are told apart."""
    url = quiet.url.replace(old, new).replace("?", "?operation_timeout=1.5&")
    with (
        coatcheck.by_url(url) as results,
        pytest.raises(coatcheck.BackendError, match=message),
    ):
        results.store_result("t", 1)
    async with coatcheck.aio.by_url(url) as results:
        with pytest.raises(coatcheck.BackendError, match=message):
            await results.store_result("t", 1)


def test_no_right_to_ask_for_the_role(quiet):
    """Without the right to ask a server for its role the sentinels' word is enough."""
    rights = "+evalsha +eval +get +getrange +set +publish +mget +subscribe +unsubscribe +ping"
    quiet.master.ask("ACL", "SETUSER", "u", "on", ">upw", "~*", "&*", *rights.split())
    with coatcheck.by_url(quiet.url.replace(":pw@", "u:upw@")) as results:
        assert results.store_result("rights", 1)
        assert 1 == results.wait_for("rights", 30).result


def test_no_connection_to_sentinels_stays(quiet):
    """Sentinels are asked at connecting, and then left alone."""

    def others() -> int:
        clients = quiet.sentinels[0].ask("CLIENT", "LIST").decode().splitlines()
        return sum(" name= " in client for client in clients)

    before = others()
    with coatcheck.by_url(quiet.url) as results:
        results.store_result("t", 2)

        until(lambda: others() <= before)


async def test_failover(sentinels):
    """The master dies in the middle of waits: all get their result, nobody's store is lost."""
    await fail_over(sentinels, lambda master: master.kill())


@pytest.mark.long
@pytest.mark.parametrize("sentinels", ["redis8", "valkey"], indirect=True)
async def test_failover_elsewhere(sentinels):
    """The same with Redis 8 and with Valkey."""
    await fail_over(sentinels, lambda master: master.kill())


@pytest.mark.long
async def test_planned_failover(sentinels):
    """The master is told to be a replica: READONLY is not the last word."""
    await fail_over(
        sentinels, lambda _: sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", sentinels.MASTER)
    )


@pytest.mark.long
async def test_stopped_master(sentinels):
    """The master stops answering, and wakes up as one that is no longer the master."""
    old = sentinels.master
    await fail_over(sentinels, lambda master: master.process.send_signal(signal.SIGSTOP))
    old.process.send_signal(signal.SIGCONT)
    with coatcheck.by_url(sentinels.url, **PATIENCE) as results:
        assert results.store_result("after", 1)
        assert sentinels.master.ask("EXISTS", "celery-task-meta-after")


@pytest.mark.long
async def test_failover_without_a_sentinel(sentinels):
    """The first sentinel of the URL is gone, too."""
    sentinels.sentinels.append(sentinels.sentinels.pop(0))
    sentinels.sentinels[-1].kill()
    await fail_over(sentinels, lambda master: master.kill())


@pytest.mark.long
async def test_two_failovers(tmp_path):
    """A second failover is like the first."""
    with Sentinels(tmp_path, replicas=2) as servers:
        await fail_over(servers, lambda master: master.kill(), prefix="first")
        until(lambda: _replicas(servers) == 1)
        await fail_over(servers, lambda master: master.kill(), prefix="second")


async def fail_over(sentinels: Sentinels, end_master, *, prefix: str = "t") -> None:
    """Open waits, end the master, store, and compare the records with the return values."""
    ids = [f"{prefix}{n}" for n in range(2 * WAITS)]
    early, late = ids[:WAITS:10], [id_ for n, id_ in enumerate(ids) if n >= WAITS or n % 10]
    claims: dict[str, list[str]] = {id_: [] for id_ in ids}
    got: list[str] = []
    old = sentinels.master
    with (
        coatcheck.by_url(sentinels.url, **PATIENCE) as reader,
        coatcheck.by_url(sentinels.url, **PATIENCE) as one,
        coatcheck.by_url(sentinels.url, **PATIENCE) as other,
    ):
        async with coatcheck.aio.by_url(sentinels.url, **PATIENCE) as aio_reader:
            for id_ in early:
                assert one.store_result(id_, "one")
                claims[id_].append("one")
            until(lambda: replicated(old))
            waits = [asyncio.create_task(aio_reader.wait_for(id_, 60)) for id_ in ids[WAITS:]]
            wait = threading.Thread(
                target=lambda: got.extend(
                    m.task_id for m in reader.as_completed(ids[:WAITS], timeout=60)
                )
            )
            wait.start()
            await asyncio.to_thread(until, lambda: subscribed(old) >= len(late))

            end_master(old)
            writers = [
                asyncio.to_thread(write, results, name, ids, claims)
                for results, name in ((one, "one"), (other, "other"))
            ]
            await asyncio.gather(*writers)
            aio_got = await asyncio.gather(*waits)
            await asyncio.to_thread(wait.join, 60)
            records = {meta.task_id: meta.result for meta in reader.get_many(ids).values()}
            await asyncio.to_thread(sentinels.wait_for_failover, old)
            # The readers' subscriptions went over to the new master.
            await check_woken(reader, aio_reader, one, sentinels.master, prefix)

    assert ids[WAITS:] == [meta.task_id for meta in aio_got]
    assert sorted(ids[:WAITS]) == sorted(got)
    assert {id_: [records[id_]] for id_ in ids} == claims


def write(results, name: str, ids: list[str], claims: dict[str, list[str]]) -> None:
    """Store all, and note whose record it is said to be."""
    for id_ in ids:
        if results.store_result(id_, name):
            claims[id_].append(name)


async def check_woken(reader, aio_reader, writer, master: RedisServer, prefix: str) -> None:
    """Wait on both sides once more, until both subscribe to the new master, and be woken."""
    last = f"{prefix}-last"
    wait = asyncio.create_task(aio_reader.wait_for(last, 120))
    thread = threading.Thread(target=reader.wait_for, args=(last, 120))
    thread.start()
    channel = f"celery-task-meta-{last}"
    await asyncio.to_thread(until, lambda: master.ask("PUBSUB", "NUMSUB", channel)[1] == 2)
    assert writer.store_result(last, 1)
    await asyncio.to_thread(thread.join, 60)

    assert 1 == (await wait).result
    assert reader.polling is None
    assert aio_reader.polling is None


def subscribed(server: RedisServer) -> int:
    """Return how many channels somebody subscribes to, not counting the sentinels' own."""
    return len(server.ask("PUBSUB", "CHANNELS", "celery-*"))


def replicated(master: RedisServer) -> bool:
    """Return whether all that was written has arrived at a replica."""
    return master.ask("WAIT", 1, 100) >= 1


def _replicas(sentinels: Sentinels) -> int:
    return len(sentinels.master.ask("ROLE")[2])


@pytest.mark.long
async def test_tls(tmp_path, tls_options):
    """With rediss+sentinel:// the sentinels are spoken to by TLS as well."""
    ports = free_port(), free_port()
    served = RedisServer(tmp_path / "0", options=(*tls_options, "--tls-port", str(ports[0])))
    names = (name.removeprefix("--") for name in tls_options[::2])
    watch = (
        *map(" ".join, zip(names, tls_options[1::2], strict=True)),
        f"tls-port {ports[1]}",
        "tls-replication yes",
        f"sentinel monitor m 127.0.0.1 {ports[0]} 1",
    )
    authority = tls_options[tls_options.index("--tls-ca-cert-file") + 1]
    url = f"rediss+sentinel://127.0.0.1:{ports[1]}?master_name=m&ssl_ca_certs={authority}"
    with served, Sentinel(tmp_path / "s", options=watch), coatcheck.by_url(url) as results:
        assert results.store_result("t", 1)
        async with coatcheck.aio.by_url(url) as aio_results:
            assert 1 == (await aio_results.wait_for("t", 30)).result
