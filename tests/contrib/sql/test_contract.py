"""
PostgreSQL, MariaDB and SQLite keep the contract.
"""

from __future__ import annotations

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
    def url(self, mariadb):
        self.server = mariadb
        return mariadb.url


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
