"""
The asyncio backend keeps the contract for synchronous code, too, on a loop in a thread.
"""

from __future__ import annotations

import pytest

import coatcheck
from coatcheck._backends.asyncio_bridge import LoopKeyValueBackend
from coatcheck.testing import BackendContract
from coatcheck_redis.asyncio import RedisBackend as AioRedisBackend

from .test_contract import RedisProof


class LoopRedisBackend(LoopKeyValueBackend):
    """As if there were no synchronous backend."""

    PROTOCOL_VERSION = 1

    @classmethod
    def from_url(cls, url, **options):
        return cls(AioRedisBackend.from_url(url, **options))


class TestRedisOnLoop(RedisProof, BackendContract):
    @pytest.fixture(autouse=True)
    def on_loop(self):
        with coatcheck.registered("redis", LoopRedisBackend):
            yield

    @pytest.fixture
    def url(self, shared_server, request):
        self.server, self.request = shared_server, request
        with shared_server.client as self.client:
            self.client.flushall()
            yield shared_server.url
