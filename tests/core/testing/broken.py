"""
Backends that are broken on purpose, each in one way, with their proofs; run by `test_bites.py`.

Every proof has the whole contract. `NOTICED` names the tests that must fail.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from contextlib import contextmanager

import pytest

import coatcheck
from coatcheck._backends.backend import ANY
from coatcheck._embedded.memory import MemoryBackend
from coatcheck.testing import AioBackendContract, BackendContract
from coatcheck.testing.promises import suite_of

#: The proof's name, and the test of each side that has to notice.
NOTICED = {
    "ReadThenWrite": "test_race",
    "CheckedByEachClient": "test_race",
    "RefusesItself": "test_same_write_again",
    "MatchesAnything": "test_if_match",
    "ProtectsSuccessOnly": "test_ready_states_are_protected[json-FAILURE]",
    "LostRing": "test_rings",
    "Forgetful": "test_latches",
    "LateSubscription": "test_watch_is_a_barrier",
    "DeafToWake": "test_wake",
    "IgnoresLife": "test_expires[0.5]",
    "CutsLongLife": "test_life_in_the_store[expires4]",
    "LongLifeIsADate": "test_lives[expires1]",
    "ExpiredIsProtected": "test_expires[0.5]",
    "BytesKeys": "test_some_absent",
    "TupleKeys": "test_round_trip[json-text]",
    "DeletesOnRead": "test_reads_change_nothing",
    "ProlongsOnRead": "test_reads_prolong_nothing",
    "LeaksSubscriptions": "test_subscriptions_end",
    "LocksWhileListening": "test_no_lock_while_listening",
    "Truncates": "test_size[1000000]",
    "UnmappedErrors": "test_store_is_away[read]",
    "TellsSecrets": "test_secrets_are_masked",
    "CannotScan": "test_scan",
    "ScansPatterns": "test_scan_by_prefix",
    "FoldsCase": "test_ids_do_not_touch",
    "SumsUpBatches": "test_many",
}


class Whole(MemoryBackend):
    """Not broken at all."""

    PROTOCOL_VERSION = 1


class ReadThenWrite(Whole):
    """Looks first, and writes then: others write in between."""

    def put(self, key, value, *, unless, if_match=None, expires):
        current = self._space.living(key, time.monotonic())
        if current is not None and (unless is ANY or self.codec.state_of(current) in unless):
            return current == value
        time.sleep(0.001)  # as long as a network takes
        return super().put(key, value, unless=frozenset(), expires=expires)


class CheckedByEachClient(ReadThenWrite):
    """Locks its own threads out, but not other clients."""

    def __init__(self, name=None):
        super().__init__(name)
        self._lock = threading.Lock()

    def put(self, *args, **options):
        with self._lock:
            return super().put(*args, **options)


class RefusesItself(Whole):
    """Takes a repeated write for another's."""

    def put(self, key, value, **how):
        return self._space.living(key, time.monotonic()) != value and super().put(key, value, **how)


class MatchesAnything(Whole):
    """Ignores the record that it replaces."""

    def put(self, key, value, *, unless, if_match=None, expires):
        return super().put(key, value, unless=unless, expires=expires)


class ProtectsSuccessOnly(Whole):
    """Lets failures be replaced, as Celery does."""

    def put(self, key, value, *, unless, if_match=None, expires):
        unless = unless if unless is ANY else frozenset({"SUCCESS"})
        return super().put(key, value, unless=unless, if_match=if_match, expires=expires)


class Rewired(Whole):
    """Has another bell."""

    @contextmanager
    def watch(self, keys=()):
        with super().watch(keys) as bell:
            self.rewire(bell)
            yield bell

    def rewire(self, bell):
        raise NotImplementedError


class LostRing(Rewired):
    """Rings for ready records only."""

    def rewire(self, bell):
        def ring(key, ring=bell.ring):
            if self.codec.state_of(self._space.living(key, time.monotonic()) or b"") == "SUCCESS":
                ring(key)

        bell.ring = ring


class Forgetful(Rewired):
    """Hears only while somebody listens."""

    def rewire(self, bell):
        def wait(timeout, wait=bell.wait):
            bell._rang.clear()
            bell._woken.sleep(0)
            return wait(timeout)

        bell.wait = wait


class LateSubscription(Rewired):
    """Subscribes a moment after it said so."""

    def rewire(self, bell):
        keys = set(bell._keys)
        bell._keys.clear()
        threading.Timer(0.3, bell._keys.update, (keys,)).start()


class DeafToWake(Rewired):
    """Cannot be woken."""

    def rewire(self, bell):
        bell.wake = lambda: None


class IgnoresLife(Whole):
    """Keeps everything."""

    def put(self, key, value, *, expires, **how):
        return super().put(key, value, expires=None, **how)


class CutsLongLife(Whole):
    """Keeps nothing for longer than 30 days."""

    def put(self, key, value, *, expires, **how):
        expires = expires and min(expires, 30 * 86_400)
        return super().put(key, value, expires=expires, **how)


class LongLifeIsADate(Whole):
    """Takes more than 30 days for seconds since 1970."""

    def put(self, key, value, *, expires, **how):
        if expires is not None and expires > 30 * 86_400:
            expires = 1e-9
        return super().put(key, value, expires=expires, **how)


class ExpiredIsProtected(Whole):
    """Hides expired records from reads, but not from writes."""

    def put(self, key, value, *, unless, if_match=None, expires):
        stored = self._space.records.get(key, (None, 0))[0]
        if stored is not None and (unless is ANY or self.codec.state_of(stored) in unless):
            return stored == value
        return super().put(key, value, unless=unless, if_match=if_match, expires=expires)


class BytesKeys(Whole):
    """Answers with the driver's own keys."""

    def get_many(self, keys):
        return {key.encode(): value for key, value in super().get_many(keys).items()}


class TupleKeys(Whole):
    """Answers with keys that nobody asked for."""

    def get_many(self, keys):
        return {("record", key): value for key, value in super().get_many(keys).items()}


class DeletesOnRead(Whole):
    """Hands out each ready record once."""

    def get_many(self, keys):
        found = super().get_many(keys)
        self.delete_many([k for k, v in found.items() if self.codec.state_of(v) == "SUCCESS"])
        return found


class ProlongsOnRead(Whole):
    """Prolongs the life of a record when it is read."""

    def get_many(self, keys):
        found = super().get_many(keys)
        for key, value in found.items():
            self._space.records[key] = (value, time.monotonic() + 3600)
        return found


class LeaksSubscriptions(Whole):
    """Never ends a subscription."""

    @contextmanager
    def watch(self, keys=()):
        context = super().watch(keys)
        self._space.leaked = [*getattr(self._space, "leaked", []), context]
        yield context.__enter__()


class LocksWhileListening(Rewired):
    """Holds the lock of its connection while it waits for a ring."""

    def __init__(self, name=None):
        super().__init__(name)
        self._lock = threading.Lock()

    def rewire(self, bell):
        def wait(timeout, wait=bell.wait):
            with self._lock:
                return wait(timeout)

        bell.wait = wait

    def put(self, key, value, **how):
        with self._lock:
            return super().put(key, value, **how)


class Truncates(Whole):
    """Keeps the first half a megabyte."""

    def put(self, key, value, **how):
        return super().put(key, value[:500_000], **how)


class UnmappedErrors(Whole):
    """Lets the driver's errors through, where the store is away."""

    def get_many(self, keys):
        if self._name == "away":
            raise ConnectionRefusedError("errno 111")
        return super().get_many(keys)

    def __init__(self, name=None):
        super().__init__(name)
        self._name = name


class TellsSecrets(Whole):
    """Says where it failed to connect to, with the password."""

    secret = ""

    def get_many(self, keys):
        if self.secret:
            raise coatcheck.BackendUnavailableError(f"cannot connect: {self.secret}") from OSError()
        return super().get_many(keys)

    @classmethod
    def from_url(cls, url, **options):
        made = super().from_url(url, **options)
        made.secret = url.rest.partition("@")[0] if "@" in url.rest else ""
        return made


class CannotScan(Whole):
    """Declares a capability that it lacks."""

    def scan(self, prefix=""):
        return coatcheck.KeyValueBackend.scan(self, prefix)


class ScansPatterns(Whole):
    """Takes a prefix for a pattern."""

    def scan(self, prefix=""):
        import fnmatch

        keys = super().scan("")
        return (key for key in keys if fnmatch.fnmatchcase(key, prefix + "*"))


class FoldsCase(Whole):
    """Does not tell upper from lower case."""

    def put(self, key, value, **how):
        return super().put(key.lower(), value, **how)

    def get_many(self, keys):
        found = super().get_many([key.lower() for key in keys])
        return {key: found[key.lower()] for key in keys if key.lower() in found}

    def delete_many(self, keys):
        return super().delete_many([key.lower() for key in keys])


class SumsUpBatches(Whole):
    """Answers the same for all of a batch."""

    def put_many(self, items, **how):
        won = super().put_many(items, **how)
        return [all(won)] * len(won)


class BrokenProof:
    """Looks into the memory of the broken backend."""

    backend = Whole

    @pytest.fixture
    def url(self):
        # Here, as the backends of the other modules derive from one of this module.
        self.backend.PROTOCOL_VERSION = 1
        scheme = self.backend.__name__.lower()
        # On the sync side alone: the other one finds it there, and runs it in threads.
        coatcheck.register(scheme, self.backend, replace=True)
        url = f"{scheme}://{uuid.uuid4()}"
        self.space = coatcheck.by_url(url).backend.backend._space
        return url

    def raw_get(self, key):
        return self.space.records.get(key, (None, 0))[0]

    def raw_put(self, key, value):
        self.space.records[key] = (value, float("inf"))

    def raw_ttl(self, key):
        until = self.space.records[key][1]
        return None if until == float("inf") else until - time.monotonic()

    def open_resources(self):
        return len(self.space.bells)


class AwayProof(BrokenProof):
    """Besides knows how the store is away."""

    def unreachable_url(self):
        secret = "user:hunter2-is-secret@" if self.backend is TellsSecrets else ""
        return f"{self.backend.__name__.lower()}://{secret}away"


def proofs_of(module, names, proof):
    """Return a proof of each side for each backend of *module* that is named."""
    made = {}
    for name in names:
        backend = getattr(sys.modules[module], name)
        for side, contract in (("", BackendContract), ("Aio", AioBackendContract)):
            contents = {"backend": backend, "__doc__": backend.__doc__, "__module__": module}
            made[f"Test{name}{side}"] = type(f"Test{name}{side}", (proof, contract), contents)
    return {name: narrowed(proof) for name, proof in made.items()}


def narrowed(proof):
    """Leave *proof* the tests that `test_bites.py` is about: collecting all of them takes long."""
    wanted = os.environ.get("COATCHECK_BITES")
    for test in suite_of(proof) if wanted else ():
        if test not in wanted.split(","):
            setattr(proof, test, None)
    return proof


AWAY = {"UnmappedErrors", "TellsSecrets"}
globals().update(
    proofs_of(__name__, [n for n in ("Whole", *NOTICED) if n not in AWAY], BrokenProof)
)
globals().update(proofs_of(__name__, AWAY, AwayProof))
