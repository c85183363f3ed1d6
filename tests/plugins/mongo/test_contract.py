"""
A MongoDB that stands alone and a replica set of one server keep the contract.
"""

from __future__ import annotations

import pytest
from support.mongo_proof import MongoProof

from coatcheck.testing import AioBackendContract, BackendContract


class SetProof(MongoProof):
    @pytest.fixture
    def url(self, server):
        self.server = server
        return server.url


class StandaloneProof(MongoProof):
    @pytest.fixture
    def url(self, standalone):
        self.server = standalone
        return f"{standalone.url}?push=0"

    def through(self, port):
        return f"{super().through(port)}&push=0"


class TestSet(SetProof, BackendContract):
    pass


class TestSetAio(SetProof, AioBackendContract):
    pass


class TestStandalone(StandaloneProof, BackendContract):
    pass


class TestStandaloneAio(StandaloneProof, AioBackendContract):
    pass
