"""
Memcached keeps the contract.
"""

from __future__ import annotations

import pytest
from support.memcached import MemcachedServer, raw
from support.processes import free_port

from coatcheck.testing import AioBackendContract, BackendContract


@pytest.fixture(scope="module")
def server():
    with MemcachedServer() as server:
        yield server


@pytest.fixture(scope="module")
def small():
    """Have a server that takes items of half a megabyte."""
    with MemcachedServer(("-I", "512k")) as server:
        yield server


class MemcachedProof:
    @pytest.fixture
    def url(self, server, request):
        self.server, self.request = server, request
        with server.client as self.client:
            self.client.flush_all()
            yield server.url

    def raw_get(self, key):
        return self.client.get(key)

    def raw_put(self, key, value):
        self.client.set(key, value)

    def raw_ttl(self, key):
        left = int(raw(self.client, f"mg {key} t".encode()).removeprefix(b"HD t"))
        return None if left == -1 else left

    def open_resources(self):
        return int(self.client.stats()[b"curr_connections"])

    def limited(self):
        # The limit is set by hand, so that only the server knows its own.
        return f"{self.request.getfixturevalue('small').url}?max_item_size=5000000", 524_288

    def unreachable_url(self):
        return f"memcached://127.0.0.1:{free_port()}"

    def address(self):
        return "127.0.0.1", self.server.port

    def through(self, port):
        return f"memcached://127.0.0.1:{port}"


class TestMemcached(MemcachedProof, BackendContract):
    pass


class TestMemcachedAio(MemcachedProof, AioBackendContract):
    pass
