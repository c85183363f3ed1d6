"""
Memcached servers, and clients of both colours.
"""

from __future__ import annotations

import pytest
from support.memcached import MemcachedServer, MemcachedServers

import coatcheck
import coatcheck.aio

#: What of the contract is run on three servers by default.
SHORT = {
    "test_first_ready_wins", "test_race_of_threads", "test_race_of_processes", "test_race_of_batches",
    "test_if_match", "test_life_in_the_store", "test_many", "test_delete_many", "test_id",
    "test_ids_do_not_touch", "test_wait_before_store", "test_as_completed", "test_fork",
    "test_group",
}  # fmt: skip
#: What takes long because Memcached counts in seconds.
LONG = {"test_model"}
#: What else of it is the same under asyncio, which here is the same code in threads.
LONG_AIO = {
    "test_expires", "test_expired_is_purged", "test_expired_matches_nothing", "test_batch_expires",
    "test_every_write_restarts_life", "test_group_expires",
}  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave what takes long, and most of the contract on three servers, to `nox -s long`."""
    for item in items:
        name = item.path.name
        if "memcached" not in item.path.parts or not name.startswith("test_contract"):
            continue
        aio = item.cls.__name__.endswith("Aio")
        left = name == "test_contract_servers.py" and item.originalname not in SHORT
        if left or item.originalname in (LONG | LONG_AIO if aio else LONG):
            item.add_marker("long")


@pytest.fixture(scope="session")
def shared_server():
    """One Memcached for the tests that leave it as it is."""
    with MemcachedServer() as server:
        yield server


@pytest.fixture
def server(shared_server):
    """That Memcached, empty."""
    with shared_server.client as client:
        client.flush_all()
    return shared_server


@pytest.fixture
def oracle(server):
    """A way to the data round coatcheck."""
    with server.client as client:
        yield client


@pytest.fixture
def own_server():
    """A Memcached that a test may kill."""
    with MemcachedServer() as server:
        yield server


@pytest.fixture
def own_servers():
    """Three of them."""
    with MemcachedServers() as servers:
        yield servers


@pytest.fixture
def results(server):
    """Synchronous results on the shared server."""
    with coatcheck.by_url(server.url) as results:
        yield results


@pytest.fixture
async def aio_results(server):
    """Results for asyncio on the shared server."""
    async with coatcheck.aio.by_url(server.url) as results:
        yield results
