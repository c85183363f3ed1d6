"""
The proof: both sides keep the contract. It looks into the environment without the backend.
"""

import math
import os
import time

import pytest
from coatcheck_lmdb import ENVIRONMENTS, HEAD, key_of, living, place_of

from coatcheck.testing import AioBackendContract, BackendContract


class LMDBProof:
    @pytest.fixture
    def url(self, tmp_path):
        self.environment = ENVIRONMENTS.at(str(tmp_path / "results"))
        return f"lmdb://{tmp_path}/results"

    def stored(self, key):
        with self.environment.begin() as transaction:
            stored = transaction.get(place_of(key))
        assert stored is None or key_of(stored) == key
        return stored

    def raw_get(self, key):
        return living(self.stored(key))

    def raw_put(self, key, value):
        stored = HEAD.pack(math.inf, len(key.encode())) + key.encode() + value
        with self.environment.begin(write=True) as transaction:
            transaction.put(place_of(key), stored)

    def raw_ttl(self, key):
        until = HEAD.unpack_from(self.stored(key))[0]
        return None if until == math.inf else until - time.time()

    def unreachable_url(self):
        return f"lmdb://{os.devnull}/results"


class TestLMDB(LMDBProof, BackendContract):
    pass


class TestLMDBAio(LMDBProof, AioBackendContract):
    pass
