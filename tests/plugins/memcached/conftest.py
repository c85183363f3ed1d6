"""
Memcached servers, and clients of both colours.
"""

from __future__ import annotations

import pytest
from support.contract import is_core, is_expiring
from support.memcached import MemcachedServer, MemcachedServers

import coatcheck
import coatcheck.aio


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """
    Leave the long tests, and most of the contract on three servers, to `nox -s long`.

    A model takes minutes where the store counts in seconds. Under asyncio the same code runs in threads.
    """
    for item in items:
        name = item.path.name
        if "memcached" not in item.path.parts or not name.startswith("test_contract"):
            continue
        aio = item.cls.__name__.endswith("Aio")
        left = name == "test_contract_servers.py" and not is_core(item)
        if left or item.originalname == "test_model" or (aio and is_expiring(item)):
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
