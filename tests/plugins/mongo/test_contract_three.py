"""
Three servers keep the contract: a part of it by default, all of it in `nox -s long`; conftest.py
says which.
"""

from __future__ import annotations

import pytest
from support.mongo import ReplicaSet
from support.mongo_proof import MongoProof

from coatcheck.testing import AioBackendContract, BackendContract


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    with ReplicaSet(tmp_path_factory.mktemp("three")) as servers:
        yield servers


class ThreeProof(MongoProof):
    @pytest.fixture
    def url(self, three):
        three.empty()
        self.server = three.primary
        return three.url


class TestThree(ThreeProof, BackendContract):
    pass


class TestThreeAio(ThreeProof, AioBackendContract):
    pass
