"""
Stores for what Celery and coatcheck leave there for each other.
"""

from __future__ import annotations

import pytest
from support.captured import CapturedFiles, CapturedRedis
from support.redis import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """One Redis for all of these tests."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def captured_redis(redis_server):
    """That Redis, for what was captured."""
    with redis_server.client as client:
        yield CapturedRedis(client, redis_server.url)
        client.flushdb()


@pytest.fixture
def captured_filesystem(tmp_path):
    """A directory, for what was captured."""
    return CapturedFiles(tmp_path / "results")
