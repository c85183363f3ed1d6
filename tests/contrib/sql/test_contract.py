"""
PostgreSQL, MariaDB and SQLite keep the contract.
"""

from __future__ import annotations

from functools import partial

import pytest
from support.sql_proof import MariaDBProof, PostgreSQLProof, SQLiteProof

from coatcheck.testing import AioBackendContract, BackendContract


class PostgreSQL(PostgreSQLProof):
    @pytest.fixture
    def url(self, postgresql):
        self.server = postgresql
        return postgresql.url


class MariaDB(MariaDBProof):
    @pytest.fixture
    def url(self, mariadb, request):
        self.server, self.request = mariadb, request
        return mariadb.url

    def limited(self):
        size = "SET GLOBAL max_allowed_packet = {}".format
        self.request.addfinalizer(partial(self.server.execute, size("DEFAULT")))
        self.server.execute(size(1_048_576))
        # As statements escape what they hold, a record may have half of a packet's bytes.
        return self.server.url, 491_520


class SQLite(SQLiteProof):
    @pytest.fixture
    def url(self, sqlite):
        self.server = sqlite
        return sqlite.url


class TestPostgreSQL(PostgreSQL, BackendContract):
    pass


class TestPostgreSQLAio(PostgreSQL, AioBackendContract):
    pass


class TestMariaDB(MariaDB, BackendContract):
    pass


class TestMariaDBAio(MariaDB, AioBackendContract):
    pass


class TestSQLite(SQLite, BackendContract):
    pass


class TestSQLiteAio(SQLite, AioBackendContract):
    pass
