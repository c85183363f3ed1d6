"""
Redis 7.0, Redis 8.2 and Valkey 9 keep the contract.
"""

from __future__ import annotations

import pytest
from support.contract import AioContract, Contract
from support.redis import RedisServer


@pytest.fixture(scope="module", params=["redis", "redis8", "valkey"])
def server(request, tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp(request.param), request.param) as server:
        yield server


@pytest.fixture
def empty(server):
    with server.client as client:
        client.flushall()
    return server.url


class TestRedis(Contract):
    @pytest.fixture
    def url(self, empty):
        return empty


class TestRedisAio(AioContract):
    @pytest.fixture
    def url(self, empty):
        return empty
