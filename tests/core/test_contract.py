"""
The embedded backends keep the contract.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from pathlib import Path

import pytest

from coatcheck._coding.codec import Codec
from coatcheck._embedded import memory, stamps
from coatcheck.testing import AioBackendContract, BackendContract


def open_files(below: Path) -> int:
    """Return how many files at or below a path this process has open."""
    count = 0
    for descriptor in os.listdir("/dev/fd"):
        try:
            count += os.readlink(f"/dev/fd/{descriptor}").startswith(str(below))
        except OSError:  # that of the listing itself
            continue
    return count


class MemoryProof:
    @pytest.fixture
    def url(self):
        name = str(uuid.uuid4())
        self.space = memory._spaces[name] = memory._Space()
        yield f"memory://{name}"
        del memory._spaces[name]

    def raw_get(self, key):
        return self.space.records.get(key, (None, 0))[0]

    def raw_put(self, key, value):
        self.space.records[key] = (value, float("inf"))

    def raw_ttl(self, key):
        until = self.space.records[key][1]
        return None if until == float("inf") else until - time.monotonic()

    def open_resources(self):
        return len(self.space.bells)


class TestMemory(MemoryProof, BackendContract):
    pass


class TestMemoryAio(MemoryProof, AioBackendContract):
    pass


class SQLiteProof:
    @pytest.fixture
    def url(self, tmp_path):
        self.path = tmp_path / "results.db"
        return f"sqlite:///{self.path}"

    def query(self, statement, *values):
        connection = sqlite3.connect(self.path)
        with connection:
            row = connection.execute(statement, values).fetchone()
        connection.close()
        return row

    def raw_get(self, key):
        row = self.query("SELECT value FROM coatcheck_records WHERE key = ?", key)
        return row and row[0]

    def raw_put(self, key, value):
        with self.sync_results() as results:
            results.exists("t")  # makes the table
        state = Codec().state_of(value)
        row = (key, value, state)
        self.query("INSERT OR REPLACE INTO coatcheck_records VALUES (?, ?, ?, NULL)", *row)

    def raw_ttl(self, key):
        row = self.query("SELECT expires_at FROM coatcheck_records WHERE key = ?", key)
        return None if row[0] is None else row[0] - time.time()

    def open_resources(self):
        return open_files(self.path)

    def unreachable_url(self):
        return f"sqlite:///{os.devnull}/results.db"


class TestSQLite(SQLiteProof, BackendContract):
    pass


class TestSQLiteAio(SQLiteProof, AioBackendContract):
    pass


class FilesProof:
    @pytest.fixture
    def url(self, tmp_path):
        self.directory = tmp_path / "results"
        return f"file://{self.directory}"

    def raw_get(self, key):
        path = self.directory / key
        return path.read_bytes() if path.exists() else None

    def raw_put(self, key, value):
        self.directory.mkdir(exist_ok=True)
        (self.directory / key).write_bytes(value)

    def raw_ttl(self, key):
        status = (self.directory / key).stat()
        until = stamps.expiry(status.st_mtime_ns, status.st_size)
        return None if until == float("inf") else until - time.time()

    def open_resources(self):
        return open_files(self.directory)


class TestFiles(FilesProof, BackendContract):
    pass


class TestFilesAio(FilesProof, AioBackendContract):
    pass
