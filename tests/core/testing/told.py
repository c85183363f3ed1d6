"""
Backends whose failures are looked at by `test_report.py`, which copies this file.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from contextlib import nullcontext

import pytest

import coatcheck
from coatcheck._backends.backend import PROTOCOL_VERSION as CURRENT
from coatcheck._embedded.memory import MemoryBackend, _spaces
from coatcheck.testing import AioBackendContract, BackendContract

HERE = os.getpid()


class Sound(MemoryBackend):
    PROTOCOL_VERSION = 1


class ReturnsNone(Sound):
    def get_many(self, keys):
        return None


class Unstated(MemoryBackend):
    pass


class Borrowed(MemoryBackend):
    PROTOCOL_VERSION = CURRENT


class LacksPut(coatcheck.KeyValueBackend):
    PROTOCOL_VERSION = 1

    @classmethod
    def from_url(cls, url, **options):
        return cls()

    def get_many(self, keys):
        return {}

    def delete_many(self, keys):
        return 0


class TakesNoKeywords(Sound):
    def put(self, key, value, unless):
        return True


class Coroutines(Sound):
    async def get_many(self, keys):
        return super().get_many(keys)


class OneForAll(Sound):
    def put_many(self, items, **how):
        return all(super().put_many(items, **how))


class NoBell(Sound):
    def watch(self, keys=()):
        return nullcontext()


class Capable(Sound):
    capabilities = "all"


class HangsInClose(Sound):
    def close(self):
        time.sleep(3600)


class HangsLater(Sound):
    def close(self):
        if self._writes > 2:
            time.sleep(3600)


class Deletes(Sound):
    def get_many(self, keys):
        found = super().get_many(keys)
        for key in set(keys) - set(found):
            self._space.records.pop(key, None)
        return found


class NotInAChild(Sound):
    def put(self, key, value, **how):
        if os.getpid() != HERE:
            raise RuntimeError("not in this process")
        return super().put(key, value, **how)


class Pumps(Sound):
    def __init__(self, name=None):
        super().__init__(name)
        self._start("coatcheck-pump")

    def _start(self, name):
        threading.Thread(target=time.sleep, args=(600,), name=name, daemon=True).start()


class Spawns(Pumps):
    def watch(self, keys=()):
        for _ in range(20):
            self._start("coatcheck-spawned")
        return super().watch(keys)


class ToldProof:
    @pytest.fixture
    def url(self):
        scheme = self.backend.__name__.lower()
        coatcheck.register(scheme, self.backend, replace=True)
        self.name = str(uuid.uuid4())
        MemoryBackend(self.name)
        return f"{scheme}://{self.name}"

    def raw_get(self, key):
        return _spaces[self.name].records.get(key, (None, 0))[0]

    def raw_put(self, key, value):
        _spaces[self.name].records[key] = (value, float("inf"))


BACKEND = globals()[os.environ["TOLD"]]


class TestSync(ToldProof, BackendContract):
    backend = BACKEND


class TestAio(ToldProof, AioBackendContract):
    backend = BACKEND
