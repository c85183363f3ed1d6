"""Keeps coatcheck's records in an LMDB environment, a directory: `lmdb:///path/to/directory`."""

import hashlib
import math
import struct
import threading
import time
from contextlib import contextmanager
from weakref import WeakValueDictionary

import lmdb

import coatcheck
from coatcheck.plugin import ANY, Capability, forks, pass_on_interruption, read_options

#: When a record expires, and how long its key is; key and value follow. LMDB's own keys are short.
HEAD = struct.Struct("!dI")


class Environments:
    """The open environments of this process: LMDB allows one for each directory."""

    def __init__(self):
        self._open = WeakValueDictionary()
        self.after_fork()
        forks.register(self)

    def after_fork(self):
        self._lock = threading.Lock()
        for environment in list(self._open.values()):
            environment.close()  # the parent's goes on
        self._open.clear()

    def at(self, directory):
        with self._lock:
            opened = self._open.get(directory) or lmdb.open(directory, map_size=2**34)  # sparse
            self._open[directory] = opened
            return opened


ENVIRONMENTS = Environments()


class LMDBBackend(coatcheck.KeyValueBackend):
    PROTOCOL_VERSION = 1
    capabilities = Capability.SCAN | Capability.SHARED

    def __init__(self, directory):
        self._directory = directory
        self.after_fork()
        forks.register(self)

    @classmethod
    def from_url(cls, url, *, operation_timeout=5.0, options=None):  # noqa: ARG003 - no network
        read_options({**url.query, **(options or {})}, {}, where="lmdb://")
        return cls(url.path)

    def after_fork(self):
        self._environment = None

    close = after_fork  # LMDB closes it with the last reference

    @contextmanager
    def _transaction(self, *, write=False):
        forks.check()
        try:
            opened = self._environment = self._environment or ENVIRONMENTS.at(self._directory)
            with opened.begin(write=write) as transaction:
                yield transaction
        except lmdb.MapFullError as error:
            raise coatcheck.BackendStoreError(f"{self._directory} is full") from error
        except (lmdb.Error, OSError) as error:
            pass_on_interruption(error)  # a signal handler may raise an OSError
            raise coatcheck.BackendUnavailableError(f"{self._directory}: {error}") from error

    def put(self, key, value, *, unless, if_match=None, expires):
        name, until = key.encode(), math.inf if expires is None else time.time() + expires
        with self._transaction(write=True) as transaction:
            current = living(transaction.get(place_of(key)))
            if if_match is None and current is not None:
                allowed = unless is not ANY and self.codec.state_of(current) not in unless
            else:
                allowed = current == if_match
            if allowed:
                transaction.put(place_of(key), HEAD.pack(until, len(name)) + name + value)
            return allowed or current == value  # a repeated write finds itself

    def get_many(self, keys):
        with self._transaction() as transaction:
            found = {key: living(transaction.get(place_of(key))) for key in keys}
            return {key: value for key, value in found.items() if value is not None}

    def delete_many(self, keys):
        with self._transaction(write=True) as transaction:
            return sum(living(transaction.pop(place_of(key))) is not None for key in set(keys))

    def scan(self, prefix=""):
        with self._transaction() as transaction:
            stored = [value for _, value in transaction.cursor() if living(value) is not None]
        return (key for key in map(key_of, stored) if key.startswith(prefix))

    def purge(self):
        with self._transaction(write=True) as transaction:
            expired = [place for place, value in transaction.cursor() if living(value) is None]
            return sum(map(transaction.delete, expired))


def place_of(key):
    return hashlib.sha256(key.encode()).digest()


def key_of(stored):
    return stored[HEAD.size : HEAD.size + HEAD.unpack_from(stored)[1]].decode()


def living(stored):
    if stored is None:
        return None
    until, length = HEAD.unpack_from(stored)
    return stored[HEAD.size + length :] if until > time.time() else None
