"""
Databases, and clients of both colours.
"""

from __future__ import annotations

import pytest
from support.contract import is_core
from support.sql import MariaDBServer, PostgreSQLServer, SQLiteFile

import coatcheck
import coatcheck.aio

#: Where the side for asyncio is the sync one in threads.
THREADED = {"TestMariaDBAio", "TestSQLiteAio"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave most of the contract in threads to `nox -s long`."""
    for item in items:
        threaded = item.cls is not None and item.cls.__name__ in THREADED
        if threaded and not is_core(item):
            item.add_marker("long")


@pytest.fixture(scope="session")
def shared_postgresql():
    """A PostgreSQL for the tests that leave it as it is."""
    with PostgreSQLServer() as server:
        yield server


@pytest.fixture
def postgresql(shared_postgresql):
    """That PostgreSQL, empty."""
    shared_postgresql.empty()
    return shared_postgresql


@pytest.fixture(scope="session")
def shared_mariadb():
    """A MariaDB for the tests that leave it as it is."""
    with MariaDBServer() as server:
        yield server


@pytest.fixture
def mariadb(shared_mariadb):
    """That MariaDB, empty."""
    shared_mariadb.empty()
    return shared_mariadb


@pytest.fixture
def sqlite(tmp_path):
    """A file that is not there yet."""
    return SQLiteFile(tmp_path / "results.db")


@pytest.fixture
def results(postgresql):
    """Synchronous results in PostgreSQL."""
    with coatcheck.by_url(postgresql.url) as results:
        yield results


@pytest.fixture
async def aio_results(postgresql):
    """Results for asyncio in PostgreSQL."""
    async with coatcheck.aio.by_url(postgresql.url) as results:
        yield results
