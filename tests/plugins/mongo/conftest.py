"""
MongoDB servers, and clients of both colours.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.contract import is_core
from support.mongo import MongoServer, ReplicaSet

import coatcheck
import coatcheck.aio

HERE = Path(__file__).parent
#: The driver for asyncio loses the socket of a monitor that is cancelled as it connects, which the
#: garbage collector finds in a later test.
LOST_BY_DRIVER = (
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:unclosed transport:ResourceWarning",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave most of the contract on three servers to `nox -s long`."""
    for item in items:
        if item.path.name == "test_contract_three.py" and not is_core(item):
            item.add_marker("long")
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.filterwarnings(*LOST_BY_DRIVER))


@pytest.fixture(scope="session")
def shared_set(tmp_path_factory):
    """A replica set of one server, for the tests that leave it as it is."""
    with ReplicaSet(tmp_path_factory.mktemp("mongo"), 1) as servers:
        yield servers


@pytest.fixture(scope="session")
def shared_standalone(tmp_path_factory):
    """A server that stands alone, for the tests that leave it as it is."""
    with MongoServer(tmp_path_factory.mktemp("mongo")) as server:
        yield server


@pytest.fixture
def server(shared_set):
    """The server of the set, empty."""
    shared_set.empty()
    return shared_set.primary


@pytest.fixture
def standalone(shared_standalone):
    """The server that stands alone, empty."""
    shared_standalone.empty()
    return shared_standalone


@pytest.fixture
def oracle(server):
    """A way to the records round coatcheck."""
    return server.client.results.celery_taskmeta


@pytest.fixture
def results(server):
    """Synchronous results on the set."""
    with coatcheck.by_url(server.url) as results:
        yield results


@pytest.fixture
async def aio_results(server):
    """Results for asyncio on the set."""
    async with coatcheck.aio.by_url(server.url) as results:
        yield results
