"""
Waiting over Redis: its connections to the server, and the faults that it survives.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import pytest
from support.processes import stopped
from support.redis import RedisServer

import coatcheck
import coatcheck.aio

DEADLINE = 30


def until(condition) -> None:
    """Wait until *condition* holds, or fail."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


def subscribed(client) -> int:
    """Return the number of channels that somebody subscribes to."""
    return len(client.pubsub_channels())


def clients(client) -> int:
    """Return the number of connections of others."""
    return client.info("clients")["connected_clients"] - 1


def test_a_thousand_threads(server, oracle):
    """A thousand waiting threads hold two connections, and all return."""
    got: list[int] = []
    with coatcheck.by_url(server.url) as results:

        def wait(number: int) -> None:
            got.append(results.wait_for(f"t{number}", DEADLINE).result)

        threads = [threading.Thread(target=wait, args=(n,)) for n in range(1000)]
        for thread in threads:
            thread.start()
        until(lambda: subscribed(oracle) == 1000)
        held = clients(oracle)
        with coatcheck.by_url(server.url) as writer:
            writer.store_many({f"t{n}": n for n in range(1000)})
        for thread in threads:
            thread.join()

    assert list(range(1000)) == sorted(got)
    assert held <= 2


async def test_ten_thousand_tasks(aio_results, oracle):
    """Ten thousand waiting asyncio tasks hold two connections, and all return."""
    ids = [f"t{n}" for n in range(10_000)]
    waits = [asyncio.create_task(aio_results.wait_for(id_, 60)) for id_ in ids]
    while subscribed(oracle) < len(ids):
        await asyncio.sleep(0.05)
    held = clients(oracle)
    await aio_results.store_many(dict.fromkeys(ids, 1))

    assert len(ids) == len(await asyncio.gather(*waits))
    assert held <= 2


def test_nothing_stays_subscribed(results, oracle):
    """After waits that ended, timed out or were broken off, no subscription is left."""
    results.store_many({f"t{n}": n for n in range(500)})
    for meta in results.as_completed([f"t{n}" for n in range(1000)]):
        if meta.result == 400:
            break
    with pytest.raises(coatcheck.WaitTimeoutError):
        results.wait_for("never", 0.1)

    until(lambda: subscribed(oracle) == 0)


async def test_nothing_stays_subscribed_aio(aio_results, oracle):
    """After waits that timed out or were cancelled, no subscription is left."""
    waits = [asyncio.create_task(aio_results.wait_for(f"t{n}")) for n in range(100)]
    with pytest.raises(coatcheck.WaitTimeoutError):
        await aio_results.wait_for("never", 0.1)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)

    while subscribed(oracle):
        await asyncio.sleep(0.05)


def test_subscription_is_cut(results, oracle):
    """A subscriber whose connection is killed subscribes anew and looks again."""
    wait = threading.Thread(target=results.wait_for, args=("t", DEADLINE))
    wait.start()
    until(lambda: subscribed(oracle) == 1)
    oracle.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    until(lambda: subscribed(oracle) == 1)
    results.store_result("t", 1)
    wait.join(DEADLINE)

    assert not wait.is_alive()


async def test_subscription_is_cut_aio(aio_results, oracle):
    """A subscriber whose connection is killed subscribes anew and looks again."""
    wait = asyncio.create_task(aio_results.wait_for("t", DEADLINE))
    while not subscribed(oracle):
        await asyncio.sleep(0.01)
    oracle.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    while not subscribed(oracle):
        await asyncio.sleep(0.01)
    await aio_results.store_result("t", 1)

    assert 1 == (await wait).result


def test_missed_ring(server, oracle):
    """The safety look finds a record that was written without a ring."""
    with coatcheck.by_url(server.url, safety_look=0.2) as results:
        wait = threading.Thread(target=results.wait_for, args=("t", DEADLINE))
        wait.start()
        until(lambda: subscribed(oracle) == 1)
        oracle.set("celery-task-meta-t", b'{"status": "SUCCESS", "result": 1}')
        wait.join(DEADLINE)

        assert not wait.is_alive()


def test_server_restarts(own_server):
    """A wait and a store survive a server that is killed and comes back empty."""
    with coatcheck.by_url(own_server.url) as results:
        got: list[object] = []
        wait = threading.Thread(target=lambda: got.append(results.wait_for("t", DEADLINE).result))
        wait.start()
        time.sleep(0.2)
        own_server.kill()
        starting = threading.Timer(0.5, own_server.start)
        starting.start()
        assert results.store_result("t", "after")
        wait.join(DEADLINE)
        starting.join()

        assert ["after"] == got


async def test_server_restarts_aio(own_server):
    """A wait and a store survive a server that is killed and comes back empty."""
    async with coatcheck.aio.by_url(own_server.url) as results:
        wait = asyncio.create_task(results.wait_for("t", DEADLINE))
        await asyncio.sleep(0.2)
        own_server.kill()
        starting = asyncio.create_task(asyncio.to_thread(own_server.start))
        assert await results.store_result("t", "after")
        await starting

        assert "after" == (await wait).result


def test_server_is_gone(own_server):
    """A wait without a server ends at its deadline, and says why."""
    with coatcheck.by_url(own_server.url) as results:
        results.exists("t")
        own_server.kill()
        with pytest.raises(coatcheck.WaitTimeoutError) as caught:
            results.wait_for("t", 0.5)

        assert isinstance(caught.value.__cause__, coatcheck.BackendUnavailableError)
        assert str(own_server.port) in str(caught.value.__cause__)


async def test_server_is_gone_aio(own_server):
    """A wait without a server ends at its deadline, and says why."""
    async with coatcheck.aio.by_url(own_server.url) as results:
        own_server.kill()
        with pytest.raises(coatcheck.WaitTimeoutError) as caught:
            await results.wait_for("t", 0.5)

        assert isinstance(caught.value.__cause__, coatcheck.BackendUnavailableError)


@pytest.fixture
def stalled(own_server: RedisServer):
    """A server that takes connections and answers nothing."""
    with stopped(own_server.process.pid):
        yield own_server


def test_one_look_at_a_server_that_stalls(stalled):
    """A wait that looks once has the time of an operation, and names the error that ended it."""
    with coatcheck.by_url(stalled.url, operation_timeout=0.3) as results:
        with pytest.raises(coatcheck.WaitTimeoutError) as caught:
            results.wait_for("t", 0)
        stalled.process.send_signal(signal.SIGCONT)

        assert isinstance(caught.value.__cause__, coatcheck.BackendUnavailableError)


def test_server_stalls(stalled):
    """A wait on a server that does not answer ends long before the operation would."""
    with coatcheck.by_url(stalled.url, operation_timeout=60) as results:
        start = time.monotonic()
        with pytest.raises(coatcheck.WaitTimeoutError, match="not answered"):
            results.wait_for("t", 0.2)
        waited = time.monotonic() - start
        stalled.process.send_signal(signal.SIGCONT)

        assert waited < 30


async def test_server_stalls_aio(stalled):
    """A wait on a server that does not answer ends long before the operation would."""
    results = coatcheck.aio.by_url(stalled.url, operation_timeout=60)
    start = time.monotonic()
    with pytest.raises(coatcheck.WaitTimeoutError, match="not answered"):
        await results.wait_for("t", 0.2)

    assert time.monotonic() - start < 30
    stalled.process.send_signal(signal.SIGCONT)
    await results.close()


@pytest.mark.parametrize("call", ["store_result", "get_task_meta", "forget"])
def test_operations_are_bounded(stalled, call):
    """Every operation on a server that does not answer ends in its time."""
    with coatcheck.by_url(f"{stalled.url}?operation_timeout=0.5") as results:
        start = time.monotonic()
        with pytest.raises(coatcheck.BackendUnavailableError, match=r"127.0.0.1"):
            getattr(results, call)("t")

        assert time.monotonic() - start < 10


@pytest.mark.parametrize("call", ["store_result", "get_task_meta", "forget"])
async def test_operations_are_bounded_aio(stalled, call):
    """Every operation on a server that does not answer ends in its time."""
    async with coatcheck.aio.by_url(f"{stalled.url}?operation_timeout=0.5") as results:
        start = time.monotonic()
        with pytest.raises(coatcheck.BackendUnavailableError, match=r"127.0.0.1"):
            await getattr(results, call)("t")

        assert time.monotonic() - start < 10


def test_server_stalls_during_a_wait(own_server):
    """A wait outlives a server that pauses, and gets the record that is stored then."""
    with coatcheck.by_url(own_server.url, operation_timeout=0.4) as results:
        got: list[object] = []
        wait = threading.Thread(target=lambda: got.append(results.wait_for("t", DEADLINE).result))
        wait.start()
        time.sleep(0.2)
        with stopped(own_server.process.pid):
            time.sleep(1)
        until(lambda: results.store_result("t", 1) or results.exists("t"))
        wait.join(DEADLINE)

        assert [1] == got


async def test_cancelled_anywhere_aio(aio_results):
    """A cancellation is never swallowed, at any place in the driver."""
    await aio_results.store_result("warm", 1)
    for steps in range(1000):
        store = asyncio.create_task(aio_results.store_result(f"t{steps}", 1))
        for _ in range(steps):
            await asyncio.sleep(0)
        if not store.cancel():
            break
        await asyncio.wait([store])

        assert store.cancelled()
    assert await aio_results.store_result("after", 1)
