"""
A cluster, and a master that sentinels watch, keep the contract: a part of it by default, all
of it in `nox -s long`; conftest.py says which.
"""

from __future__ import annotations

import pytest
from support.processes import free_port
from support.redis import RedisCluster, Sentinels

from coatcheck.testing import AioBackendContract, BackendContract
from coatcheck.testing.proof import SECRET

KINDS = ["redis", "redis8", "valkey"]


@pytest.fixture(scope="module", params=KINDS)
def cluster(request, tmp_path_factory):
    with RedisCluster(tmp_path_factory.mktemp("cluster"), request.param) as cluster:
        yield cluster


@pytest.fixture(scope="module", params=KINDS)
def sentinels(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("sentinel")
    with Sentinels(directory, request.param, password="pw") as sentinels:
        yield sentinels


class Oracle:
    def raw_get(self, key):
        return self.node(key).ask("GET", key)

    def raw_put(self, key, value):
        self.node(key).ask("SET", key, value)

    def cut(self):
        # Not the sentinels', which have names: without theirs they take the master for lost.
        for node in self.nodes:
            for client in node.ask("CLIENT", "LIST").splitlines():
                fields = dict(field.split(b"=", 1) for field in client.split())
                if not fields[b"name"]:
                    node.ask("CLIENT", "KILL", "ID", fields[b"id"])

    def raw_ttl(self, key):
        left = self.node(key).ask("PTTL", key)
        return None if left == -1 else left / 1000


class ClusterProof(Oracle):
    @pytest.fixture
    def url(self, cluster):
        cluster.flush()
        self.node = cluster.owner
        self.nodes = cluster.nodes
        return cluster.url

    def open_resources(self):
        # Without the tests of pools: every node has one, and they may grow later than the contract expects.
        listening = [node.ask("CLIENT", "LIST", "TYPE", "pubsub") for node in self.nodes]
        channels = [node.ask("PUBSUB", "SHARDCHANNELS") for node in self.nodes]
        return sum(len(c.splitlines()) for c in listening) + sum(map(len, channels))

    def unreachable_url(self):
        return f"redis+cluster://user:{SECRET}@127.0.0.1:{free_port()}"


class SentinelProof(Oracle):
    @pytest.fixture
    def url(self, sentinels):
        self.master = sentinels.master
        self.node = lambda key: self.master
        self.nodes = [self.master]
        self.master.ask("FLUSHALL")
        return sentinels.url

    def open_resources(self):
        clients = self.master.ask("CLIENT", "LIST", "TYPE", "normal").splitlines()
        return sum(b"name= " in client and b"laddr=127" in client for client in clients)

    def unreachable_url(self):
        return f"sentinel://user:{SECRET}@127.0.0.1:{free_port()}/0?master_name=m"


class TestCluster(ClusterProof, BackendContract):
    pass


class TestClusterAio(ClusterProof, AioBackendContract):
    pass


class TestSentinel(SentinelProof, BackendContract):
    pass


class TestSentinelAio(SentinelProof, AioBackendContract):
    pass
