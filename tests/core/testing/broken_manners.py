"""
Backends that misuse connections, threads or loops on purpose.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid

import pytest
from broken import AwayProof, BrokenProof, Whole, narrowed, proofs_of

import coatcheck
import coatcheck.aio
from coatcheck.testing import AioBackendContract

#: The backend's name, and the test of each side that has to notice.
NOTICED = {
    "SharesItsConnection": "test_one_client_for_all",
    "ForkedByHooksOnly": "test_fork_in_c",
    # A loop does not survive a fork of Python's; a child has one of its own.
    "DiesInAChild": ("test_fork", "test_fork_in_c"),
    "ClosesForGood": "test_close_during_wait",
    "ClosesOnce": "test_shape",
    "HangsInClose": "test_shape",
    "LeaksWhenClosed": "test_close_gives_up_all",
    "StartsThreads": "test_no_object_is_left",
    "ReturnsNone": "test_shape",
    "IsOfAnotherTime": "test_shape",
}
#: Those of a store that is away.
NOTICED_AWAY = {
    "RaisesTheDrivers": "test_store_is_away[store]",
    "TakesItsTime": "test_store_is_away[read]",
    "TellsInTheCause": "test_secrets_are_masked",
}
#: Those that only a native backend for asyncio can be, each with the reason.
NOTICED_NATIVELY = {
    # Two awaits, with other tasks between them; a synchronous one of the kind is `ReadThenWrite`.
    "ReadsThenWrites": "test_race",
    # No loop can bind a synchronous backend.
    "KnowsOneLoop": "test_one_loop_after_the_other",
    # Nobody cancels a call of a synchronous backend. `test_interrupted` interrupts it, line by line.
    "ReadsStaleReplies": "test_cancelled_everywhere[read]",
    "StoresByHalves": "test_cancelled_store",
    "SwallowsCancellations": "test_cancelled_everywhere[store]",
    # Only a loop stands still for one wait; a synchronous one of the kind is `HangsInWait`.
    "ListensInTheLoop": "test_no_lock_while_listening",
    # A synchronous backend has no tasks; that of threads is `StartsThreads`.
    "LeavesTasks": "test_no_object_is_left",
}


class SharesItsConnection(Whole):
    """Sends a request and takes the next answer, whoever asked."""

    def get_many(self, keys):
        self.request = list(keys)
        time.sleep(0.0005)
        return super().get_many(self.request)


class ForkedByHooksOnly(Whole):
    """Opens a connection of its own in a child, if Python tells it of the child."""

    def __init__(self, name=None):
        super().__init__(name)
        self.connect()
        os.register_at_fork(after_in_child=self.connect)

    def connect(self):
        self.process = os.getpid()

    def put(self, key, value, **how):
        if os.getpid() != self.process:
            raise coatcheck.BackendStoreError("another process's reply was read")
        return super().put(key, value, **how)


class DiesInAChild(ForkedByHooksOnly):
    """Never opens another connection."""

    def connect(self):
        self.process = getattr(self, "process", os.getpid())


class ClosesForGood(Whole):
    """Cannot be used again."""

    closed = False

    def close(self):
        self.closed = True

    def put(self, key, value, **how):
        if self.closed:
            raise coatcheck.BackendStoreError("it is closed")
        return super().put(key, value, **how)


class ClosesOnce(Whole):
    """Raises when it is closed again."""

    closed = False

    def close(self):
        if self.closed:
            raise ValueError("it is closed")
        self.closed = True


class HangsInClose(Whole):
    """Waits for something that never comes when it is closed."""

    def close(self):
        time.sleep(3600)


class LeaksWhenClosed(Whole):
    """Keeps its connection open."""

    def put(self, key, value, **how):
        if not hasattr(self, "connection"):
            self.context = self.watch([])
            self.connection = self.context.__enter__()
        return super().put(key, value, **how)


class StartsThreads(Whole):
    """Starts a thread with every batch that it reads, and never ends it."""

    def get_many(self, keys):
        threading.Thread(target=threading.Event().wait, name="coatcheck-read", daemon=True).start()
        return super().get_many(keys)


class ReturnsNone(Whole):
    """Forgot to return its findings."""

    def get_many(self, keys):
        super().get_many(keys)


class IsOfAnotherTime(Whole):
    """Has the signature of an earlier version."""

    def put(self, key, value, unless, expires):
        return super().put(key, value, unless=unless, expires=expires)


class MayBeAway(Whole):
    """Is away by the name "away"."""

    secret = ""

    def __init__(self, name=None):
        super().__init__(name)
        self.away = str(name).endswith("away")

    @classmethod
    def from_url(cls, url, **options):
        made = super().from_url(url, **options)
        made.secret = url.rest.partition("@")[0]
        return made

    def put(self, key, value, **how):
        if self.away:
            self.fail()
        return super().put(key, value, **how)

    def get_many(self, keys):
        if self.away:
            self.fail()
        return super().get_many(keys)

    def delete_many(self, keys):
        if self.away:
            self.fail()
        return super().delete_many(keys)

    def fail(self):
        raise coatcheck.BackendUnavailableError("it is away") from OSError("111")


class RaisesTheDrivers(MayBeAway):
    """Maps the errors of reads alone."""

    def put(self, key, value, **how):
        if self.away:
            raise OSError("111")
        return super().put(key, value, **how)


class TakesItsTime(MayBeAway):
    """Does not know how long an operation may take."""

    def fail(self):
        time.sleep(3600)


class TellsInTheCause(MayBeAway):
    """Says in the cause where it failed to connect to."""

    def fail(self):
        error = OSError(f"cannot connect to {self.secret}")
        raise coatcheck.BackendUnavailableError("it is away") from error


class MayBeAwayProof(AwayProof):
    """Has a password in the URL of a store that is away."""

    def unreachable_url(self):
        return f"{self.backend.__name__.lower()}://user:hunter2-is-secret@away"


# -- natively for asyncio ---------------------------------------------------------------------


class Native(coatcheck.aio.KeyValueBackend):
    """A backend in memory, over something like a network; not broken."""

    PROTOCOL_VERSION = 1
    capabilities = Whole.capabilities & ~coatcheck.Capability.PUSH

    def __init__(self, store):
        self.store = store

    @classmethod
    def from_url(cls, url, *, operation_timeout=5.0, options=None):
        return cls(Whole.from_url(url, operation_timeout=operation_timeout, options=options))

    async def ask(self, operation, *args, **how):
        self.store.codec = self.codec
        await asyncio.sleep(0)
        answer = operation(*args, **how)
        await asyncio.sleep(0)
        return answer

    async def put(self, key, value, *, unless, if_match=None, expires):
        how = {"unless": unless, "if_match": if_match, "expires": expires}
        return await self.ask(self.store.put, key, value, **how)

    async def put_many(self, items, *, unless, expires):
        return await self.ask(self.store.put_many, items, unless=unless, expires=expires)

    async def get_many(self, keys):
        return await self.ask(self.store.get_many, keys)

    async def delete_many(self, keys):
        return await self.ask(self.store.delete_many, keys)

    async def purge(self):
        return await self.ask(self.store.purge)

    async def scan(self, prefix=""):
        for key in self.store.scan(prefix):
            yield key


class ReadsThenWrites(Native):
    """Decides between two awaits."""

    async def put(self, key, value, *, unless, if_match=None, expires):
        found = await self.get_many([key])
        if key in found and if_match is None:
            if unless is coatcheck.ANY or self.codec.state_of(found[key]) in unless:
                return found[key] == value
            unless = frozenset()
        elif if_match is None:
            unless = frozenset()
        return await super().put(key, value, unless=unless, if_match=if_match, expires=expires)


class KnowsOneLoop(Native):
    """Keeps a future of the first loop that it ran in."""

    connected = None

    async def ask(self, operation, *args, **how):
        if self.connected is None:
            self.connected = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(self.connected.set_result, None)
        if self.connected.get_loop() is not asyncio.get_running_loop():
            raise RuntimeError("it is bound to a different event loop")
        await self.connected
        return await super().ask(operation, *args, **how)


class ReadsStaleReplies(Native):
    """Leaves an answer on the connection when the caller is cancelled."""

    def __init__(self, store):
        super().__init__(store)
        self.replies = []

    async def ask(self, operation, *args, **how):
        self.store.codec = self.codec
        self.replies.append(operation(*args, **how))
        await asyncio.sleep(0)
        return self.replies.pop(0)


class StoresByHalves(Native):
    """Sends the beginning, and then the rest."""

    async def put(self, key, value, **how):
        if await super().put(key, value[:40], **how):
            until = self.store._space.records[key][1]
            self.store._space.records[key] = (value, until)
            return True
        return False


class SwallowsCancellations(Native):
    """Takes a cancellation for an error of the store."""

    async def put(self, key, value, **how):
        try:
            return await super().put(key, value, **how)
        except asyncio.CancelledError:
            return False


class BlockingBell(coatcheck.aio.Bell):
    async def wait(self, timeout):
        threading.Event().wait(min(timeout, 1.0))
        return []


class ListensInTheLoop(Native):
    """Waits for rings without awaiting them."""

    def watch(self, keys=()):
        from contextlib import nullcontext

        return nullcontext(BlockingBell())


class LeavesTasks(Native):
    """Starts a task for every batch that it reads, and never ends it."""

    async def get_many(self, keys):
        self.tasks = [*getattr(self, "tasks", ()), asyncio.create_task(asyncio.sleep(3600))]
        return await super().get_many(keys)


class NativeProof(BrokenProof):
    """Has the native backend for asyncio, and the sound one for synchronous code."""

    @pytest.fixture
    def url(self):
        scheme = self.backend.__name__.lower()
        coatcheck.register(scheme, Whole, replace=True)
        coatcheck.aio.register(scheme, self.backend, replace=True)
        name = str(uuid.uuid4())
        self.space = Whole(name)._space
        return f"{scheme}://{name}"


globals().update(proofs_of(__name__, NOTICED, BrokenProof))
globals().update(proofs_of(__name__, NOTICED_AWAY, MayBeAwayProof))
for _name in ("Native", *NOTICED_NATIVELY):
    _backend = globals()[_name]
    _contents = {"backend": _backend, "__doc__": _backend.__doc__, "__module__": __name__}
    _proof = type(f"Test{_name}Aio", (NativeProof, AioBackendContract), _contents)
    globals()[_proof.__name__] = narrowed(_proof)
