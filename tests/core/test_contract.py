"""
The embedded backends keep the contract.
"""

from __future__ import annotations

import uuid

import pytest
from support.contract import AioContract, Contract


@pytest.fixture
def memory_url():
    return f"memory://{uuid.uuid4()}"


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/results.db"


@pytest.fixture
def files_url(tmp_path):
    return f"file://{tmp_path}/results"


class TestMemory(Contract):
    @pytest.fixture
    def url(self, memory_url):
        return memory_url


class TestMemoryAio(AioContract):
    @pytest.fixture
    def url(self, memory_url):
        return memory_url


class TestSQLite(Contract):
    @pytest.fixture
    def url(self, sqlite_url):
        return sqlite_url


class TestSQLiteAio(AioContract):
    @pytest.fixture
    def url(self, sqlite_url):
        return sqlite_url


class TestFiles(Contract):
    @pytest.fixture
    def url(self, files_url):
        return files_url


class TestFilesAio(AioContract):
    @pytest.fixture
    def url(self, files_url):
        return files_url
