"""
Three servers keep the contract, seen by the client that Celery uses: a part of it by default, all
of it in `nox -s long`; conftest.py says which.
"""

from __future__ import annotations

import pytest
from support.memcached import MemcachedServers, raw
from support.processes import free_port

from coatcheck.testing import AioBackendContract, BackendContract


@pytest.fixture(scope="module")
def servers():
    with MemcachedServers() as servers:
        yield servers


class ServersProof:
    @pytest.fixture
    def url(self, servers):
        with servers.client as self.client:
            self.client.flush_all()
            yield servers.url

    def raw_get(self, key):
        return self.client.get(key)

    def raw_put(self, key, value):
        self.client.set(key, value)

    def raw_ttl(self, key):
        reply = raw(self.client._get_client(key), f"mg {key} t".encode())
        left = int(reply.removeprefix(b"HD t"))
        return None if left == -1 else left

    def unreachable_url(self):
        return f"memcached://127.0.0.1:{free_port()};127.0.0.1:{free_port()}"


class TestServers(ServersProof, BackendContract):
    pass


class TestServersAio(ServersProof, AioBackendContract):
    pass
