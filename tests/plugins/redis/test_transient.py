"""
Replies that say "not now": they are repeated until the deadline.
"""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from redis import exceptions
from support.processes import free_port

import coatcheck
import coatcheck.aio
from coatcheck.testing.proxy import Proxy
from coatcheck_redis.asyncio_connections import Connection

#: Commands that make a server refuse for the moment, and end it.
REPLIES = {
    "READONLY": (("REPLICAOF", "127.0.0.1", free_port()), ("REPLICAOF", "NO", "ONE")),
    "NOREPLICAS": (
        ("CONFIG", "SET", "min-replicas-to-write", 1),
        ("CONFIG", "SET", "min-replicas-to-write", 0),
    ),
    "MASTERDOWN": (
        ("CONFIG", "SET", "replica-serve-stale-data", "no"),
        ("REPLICAOF", "127.0.0.1", free_port()),
        ("REPLICAOF", "NO", "ONE"),
    ),
    "BUSY": (("CONFIG", "SET", "busy-reply-threshold", 50), ("SCRIPT", "KILL")),
}


@pytest.fixture(params=REPLIES)
def refusing(own_server, request):
    """A server that says no, and will say yes in a moment."""
    *befores, after = REPLIES[request.param]
    for command in befores:
        own_server.ask(*command)
    looping = threading.Thread(target=loop, args=(own_server,))
    if request.param == "BUSY":
        looping.start()
        until_busy(own_server)
    relenting = threading.Timer(0.3, own_server.ask, after)
    relenting.start()
    yield own_server
    relenting.join()
    if request.param == "BUSY":
        looping.join()


def loop(server) -> None:
    """Run a script until it is killed."""
    with pytest.raises(Exception, match="killed"):
        server.ask("EVAL", "while true do end", 0)


def until_busy(server) -> None:
    """Wait until the server says that it is."""
    while True:
        try:
            server.ask("PING")
        except Exception as error:
            if "BUSY" in str(error):
                return
        time.sleep(0.01)


def test_store_is_repeated(refusing):
    """A store waits for a server that says no for now."""
    with coatcheck.by_url(refusing.url, operation_timeout=20) as results:
        assert results.store_result("t", 1)
        assert 1 == results.wait_for("t", 30).result


async def test_store_is_repeated_aio(refusing):
    """A store waits for a server that says no for now, under asyncio."""
    async with coatcheck.aio.by_url(refusing.url, operation_timeout=20) as results:
        assert await results.store_result("t", 1)
        assert 1 == (await results.wait_for("t", 30)).result


def test_deadline_is_kept(own_server):
    """A refusal that lasts is raised after the operation's time, in the server's words."""
    own_server.ask("REPLICAOF", "127.0.0.1", free_port())
    with (
        coatcheck.by_url(own_server.url, operation_timeout=0.3) as results,
        pytest.raises(coatcheck.BackendUnavailableError, match="read only replica"),
    ):
        results.store_result("t", 1)


async def test_a_connection_that_was_lost_is_replaced_aio(server):
    """A store goes over a new connection where the old one was reset while it was idle."""
    with Proxy("127.0.0.1", server.port) as proxy:
        async with coatcheck.aio.by_url(f"redis://127.0.0.1:{proxy.port}/0") as results:
            for number in range(10):
                assert await results.store_result(f"t-{number}", number)
                proxy.reset()
                for _ in range(number):
                    await asyncio.sleep(0)


async def test_a_lost_connection_says_so_aio(server):
    """Sending over a connection known to be reset raises the driver's error."""
    with Proxy("127.0.0.1", server.port) as proxy:
        connection = Connection(host="127.0.0.1", port=proxy.port, protocol=2)
        try:
            await connection.connect()
            proxy.reset()
            while not connection._writer.transport.is_closing():
                await asyncio.sleep(0)
            await asyncio.sleep(0)  # from then on the transport has no loop
            with pytest.raises(exceptions.ConnectionError):
                await connection.send_packed_command([b"PING\r\n"], check_health=False)
        finally:
            await connection.disconnect(nowait=True)
