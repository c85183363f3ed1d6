"""
Refusals of a real server: those that pass are repeated, all others are not.
"""

from __future__ import annotations

import shutil
import time

import pytest
from support.redis import RedisServer, until

import coatcheck
import coatcheck.aio

#: Longer than any of the tests takes whose error is not repeated.
PATIENCE = {"operation_timeout": 20}


def fill_memory(server):
    """Have the server say that it has no memory left."""
    server.ask("CONFIG", "SET", "maxmemory", 1)


def break_disk(server):
    """Let the server fail to save its data."""
    server.ask("CONFIG", "SET", "save", "3600 1")
    server.ask("SET", "changed", 1)
    shutil.rmtree(server.directory / "data")
    server.ask("BGSAVE")
    until(lambda: b"rdb_last_bgsave_status:err" in raw_info(server))


def raw_info(server):
    """Return the text of INFO, which the driver parses into a dictionary."""
    return "\n".join(f"{k}:{v}" for k, v in server.ask("INFO", "persistence").items()).encode()


REFUSALS = {"OOM": (fill_memory, "maxmemory"), "MISCONF": (break_disk, "MISCONF|RDB snapshots")}


@pytest.fixture(params=REFUSALS)
def refusing(tmp_path, request):
    """A server that refuses every write, with its reply."""
    (tmp_path / "data").mkdir()
    with RedisServer(tmp_path, options=("--dir", str(tmp_path / "data"))) as server:
        provoke, text = REFUSALS[request.param]
        provoke(server)
        yield server, text


def test_a_refused_write_is_not_repeated(refusing):
    """A write that the server goes on refusing is told at once, in its words; reads go on."""
    server, text = refusing
    with coatcheck.by_url(server.url, **PATIENCE) as results:
        began = time.monotonic()
        with pytest.raises(coatcheck.BackendStoreError, match=text):
            results.store_result("t", 1)

        assert time.monotonic() - began < PATIENCE["operation_timeout"] / 2
        assert not results.exists("t")


async def test_a_refused_write_is_not_repeated_aio(refusing):
    """A write that the server goes on refusing is told at once, in its words; reads go on."""
    server, text = refusing
    async with coatcheck.aio.by_url(server.url, **PATIENCE) as results:
        began = time.monotonic()
        with pytest.raises(coatcheck.BackendStoreError, match=text):
            await results.store_result("t", 1)

        assert time.monotonic() - began < PATIENCE["operation_timeout"] / 2
        assert not await results.exists("t")


def test_a_server_that_loads(tmp_path):
    """A read waits while the server loads, and finds a record from before the restart."""
    with RedisServer(tmp_path) as server:
        with coatcheck.by_url(server.url) as results:
            results.store_many({f"t{n}": "x" * 100 for n in range(4000)})
        server.ask("SAVE")
        server.kill()
        # In microseconds for each key; every few bytes it answers clients.
        slowly = ("--key-load-delay", "400", "--loading-process-events-interval-bytes", "1024")
        server.options = slowly
        starting(server)
        with coatcheck.by_url(server.url, **PATIENCE) as results:
            assert "x" * 100 == results.get_result("t999")
            assert results.store_result("u", 1)
        until(lambda: server.ask("PING"))


def starting(server):
    """Start *server* without waiting until it serves."""
    real = server._until_ready
    server._until_ready = lambda: server._until(server.listen)
    try:
        server.start()
    finally:
        server._until_ready = real
    # Commands are repeated by the driver until it is over, but for this one, which is answered.
    until(lambda: server.ask("INFO", "persistence")["loading"])
