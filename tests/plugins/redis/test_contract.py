"""
Redis 7.0, Redis 8.2 and Valkey 9 keep the contract.
"""

from __future__ import annotations

import pytest
from support.processes import free_port
from support.redis import RedisServer

from coatcheck.testing import AioBackendContract, BackendContract
from coatcheck.testing.proof import SECRET


@pytest.fixture(scope="module", params=["redis", "redis8", "valkey"])
def server(request, tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp(request.param), request.param) as server:
        yield server


@pytest.fixture(scope="module")
def small(server, tmp_path_factory):
    """Have a server of the same kind that takes values of a megabyte."""
    options = ("--proto-max-bulk-len", "1mb")
    with RedisServer(tmp_path_factory.mktemp("small"), server.kind, options=options) as small:
        yield small


class RedisProof:
    @pytest.fixture
    def url(self, server, request):
        self.server, self.request = server, request
        with server.client as self.client:
            self.client.flushall()
            yield server.url

    def raw_get(self, key):
        return self.client.get(key)

    def raw_put(self, key, value):
        self.client.set(key, value)

    def raw_ttl(self, key):
        left = self.client.pttl(key)
        return None if left == -1 else left / 1000

    def open_resources(self):
        ours = self.client.info("clients")["connected_clients"]
        return ours + len(self.client.pubsub_channels())

    def limited(self):
        return self.request.getfixturevalue("small").url, 1_048_576

    def unreachable_url(self):
        return f"redis://user:{SECRET}@127.0.0.1:{free_port()}/0"

    def address(self):
        return "127.0.0.1", self.server.port

    def through(self, port):
        return f"redis://127.0.0.1:{port}/0"


class TestRedis(RedisProof, BackendContract):
    pass


class TestRedisAio(RedisProof, AioBackendContract):
    pass
