"""
The hub under backends that fail, stall, or keep quiet; sync and asyncio.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from contextlib import asynccontextmanager, contextmanager

import pytest

import coatcheck
import coatcheck.aio
from coatcheck._embedded.memory import MemoryBackend
from coatcheck.testing.doubles import Failing, Quiet, Stalling
from coatcheck.testing.threads import Started, until

DEADLINE = 30


class Unsubscribable(MemoryBackend):
    """Cannot be subscribed to."""

    @contextmanager
    def watch(self, keys=()):
        raise coatcheck.BackendUnavailableError("no subscription")
        yield


class Broken(MemoryBackend):
    """Has a bell with a bug."""

    @contextmanager
    def watch(self, keys=()):
        class BrokenBell(coatcheck.Bell):
            def wait(self, timeout):
                raise ZeroDivisionError

        yield BrokenBell()


@pytest.fixture
def make():
    """Make results over a backend, and close them in the end."""
    made = []

    def make(backend, **options):
        made.append(coatcheck.Results(backend, **options))
        return made[-1]

    yield make
    for results in made:
        results.close()


class Subscribed(MemoryBackend):
    """Counts the subscriptions."""

    def __init__(self):
        super().__init__()
        self.subscriptions = 0

    @contextmanager
    def watch(self, keys=()):
        self.subscriptions += 1
        with super().watch(keys) as bell:
            yield bell


def test_one_wait_after_the_other(make):
    """Waits that follow each other share one thread and one subscription."""
    backend = Subscribed()
    results = make(backend)
    for number in range(100):
        results.store_result(f"t{number}", number)

    assert list(range(100)) == [results.AsyncResult(f"t{n}").get(timeout=9) for n in range(100)]
    assert 1 == backend.subscriptions


def test_without_push(make):
    """Without rings, waits look: often at first, then ever less."""
    backend = Quiet()
    results = make(backend)
    wait = Started(results.wait_for, "t", DEADLINE)
    until(lambda: backend.looks > 5)
    time.sleep(0.2)
    results.store_result("t", 1)

    assert 1 == wait.answer().result
    assert backend.looks < 200


def test_many_waits_share_looks(make):
    """A thousand waits are one batched read at a time."""
    backend = Quiet()
    results = make(backend)
    with pytest.raises(coatcheck.WaitTimeoutError):
        list(results.as_completed([f"t{n}" for n in range(900)], timeout=0.3))

    assert backend.looks < 300


def test_store_is_away_for_a_while(make):
    """An error of the store uses up the deadline, it does not end the wait."""
    backend = Failing()
    results = make(backend)
    results.store_result("t", 1)
    timer = threading.Timer(0.2, setattr, (backend, "error", None))
    timer.start()

    assert 1 == results.wait_for("t", DEADLINE).result
    timer.join()


@pytest.mark.parametrize("timeout", [0, 0.1])
def test_store_is_away(make, timeout):
    """The store's last error is the cause of the timeout."""
    with pytest.raises(coatcheck.WaitTimeoutError, match="away") as caught:
        make(Failing()).wait_for("t", timeout)
    assert "away" == str(caught.value.__cause__)


def test_no_patience_helps(make):
    """What is no error of the store is raised in those who wait, at once."""
    backend = Failing()
    backend.error = coatcheck.UnsupportedError("no reads here")

    with pytest.raises(coatcheck.UnsupportedError, match="no reads here"):
        make(backend).wait_for("t")


def test_disabled():
    """A wait on disabled results does not hang."""
    results = coatcheck.by_url("disabled://")
    results.store_result("t", 1)

    with pytest.raises(coatcheck.UnsupportedError, match="disabled"):
        results.wait_for("t")
    with pytest.raises(coatcheck.UnsupportedError, match="disabled"):
        results.get_state("t")
    results.close()


@pytest.mark.parametrize("timeout", [0, 0.1])
def test_store_stalls(make, timeout):
    """A wait ends although a read of the store goes on."""
    backend = Stalling()
    results = make(backend)
    with pytest.raises(coatcheck.WaitTimeoutError, match="not answered"):
        results.wait_for("t", timeout)

    backend.answer.set()


def test_no_subscription(make):
    """Where the subscription fails, waits look."""
    results = make(Unsubscribable())
    timer = threading.Timer(0.1, results.store_result, ("t", 1))
    timer.start()

    assert 1 == results.wait_for("t", DEADLINE).result
    timer.join()


def test_bug_in_a_plugin(make, caplog):
    """A bug in a bell is raised in those who wait, and logged; none of them hangs."""
    with pytest.raises(ZeroDivisionError):
        make(Broken()).wait_for("t")
    assert caplog.messages.count("the hub failed, and with it all waits") == 1


def test_unread_generator(make):
    """A stream of results that nobody read takes nothing and leaves nothing."""
    results = make(MemoryBackend())
    results.as_completed(["t"])
    gc.collect()

    assert results._hub._watch is None


def test_collected_in_the_middle(make):
    """A wait that the garbage collector ends, in whatever thread, blocks nobody."""
    results = make(MemoryBackend())
    results.store_result("a", 1)
    cycle: dict[str, object] = {"stream": results.as_completed(["a", "never"])}
    cycle["self"] = cycle
    next(cycle["stream"])
    hub_lock = results._hub.lock
    del cycle
    with hub_lock:  # as if the collector ran in a thread that holds it
        gc.collect()

    assert 1 == results.wait_for("a", DEADLINE).result


def test_deadline_while_results_come(make):
    """A stream of results does not put off the deadline."""
    results = make(MemoryBackend())
    results.store_many({f"t{n}": n for n in range(100)})
    with pytest.raises(coatcheck.WaitTimeoutError):
        for _ in results.as_completed([f"t{n}" for n in range(101)], timeout=0.2):
            time.sleep(0.01)


def test_wrong_timeout(make):
    """A timeout that cannot be is refused."""
    for timeout in (-1, float("nan"), True, "5"):
        with pytest.raises(ValueError, match="timeout"):
            make(MemoryBackend()).wait_for("t", timeout)


class AioStalling(coatcheck.aio.KeyValueBackend):
    """Does not answer reads; has no bell."""

    def __init__(self):
        self.records = {}
        self.error: Exception | None = None
        self.stall = False

    async def put(self, key, value, *, unless, if_match=None, expires):
        self.records[key] = value
        return True

    async def get_many(self, keys):
        if self.error is not None:
            raise self.error
        if self.stall:
            await asyncio.sleep(DEADLINE)
        return {key: self.records[key] for key in keys if key in self.records}

    async def delete_many(self, keys):
        return len([self.records.pop(key) for key in keys])


class AioUnsubscribable(AioStalling):
    @asynccontextmanager
    async def watch(self, keys=()):
        raise coatcheck.BackendUnavailableError("no subscription")
        yield


class AioBroken(AioStalling):
    @asynccontextmanager
    async def watch(self, keys=()):
        class BrokenBell(coatcheck.aio.Bell):
            async def wait(self, timeout):
                raise ZeroDivisionError

        yield BrokenBell()


class AioSubscribed(coatcheck.aio.KeyValueBackend):
    """The same."""

    capabilities = coatcheck.Capability.PUSH
    subscriptions = 0
    data = b'{"status": "SUCCESS", "result": 1}'

    async def put(self, key, value, *, unless, if_match=None, expires):
        return True

    async def get_many(self, keys):
        return dict.fromkeys(keys, self.data)

    async def delete_many(self, keys):
        return 0

    @asynccontextmanager
    async def watch(self, keys=()):
        self.subscriptions += 1
        yield coatcheck.aio.Bell()


async def test_aio_one_wait_after_the_other():
    """Under asyncio they share one task and one subscription."""
    backend = AioSubscribed()
    async with coatcheck.aio.Results(backend) as results:
        assert [1] * 100 == [await results.AsyncResult(f"t{n}").get(timeout=9) for n in range(100)]

    assert 1 == backend.subscriptions


@pytest.mark.parametrize("backend", [AioStalling, AioUnsubscribable])
async def test_aio_without_push(backend):
    """Without rings or subscription, waits look."""
    async with coatcheck.aio.Results(backend()) as results:
        wait = asyncio.create_task(results.wait_for("t", DEADLINE))
        await asyncio.sleep(0.05)
        await results.store_result("t", 1)

        assert 1 == (await wait).result


@pytest.mark.parametrize("timeout", [0, 0.1])
async def test_aio_store_stalls(timeout):
    """A wait ends although a read of the store goes on."""
    backend = AioStalling()
    backend.stall = True
    async with coatcheck.aio.Results(backend) as results:
        with pytest.raises(coatcheck.WaitTimeoutError, match="not answered"):
            await results.wait_for("t", timeout)


@pytest.mark.parametrize("timeout", [0, 0.1])
async def test_aio_store_is_away(timeout):
    """The store's last error is the cause of the timeout."""
    backend = AioStalling()
    backend.error = coatcheck.BackendUnavailableError("away")
    async with coatcheck.aio.Results(backend) as results:
        with pytest.raises(coatcheck.WaitTimeoutError, match="away"):
            await results.wait_for("t", timeout)


async def test_aio_no_patience_helps(caplog):
    """What is no error of the store is raised in those who wait."""
    async with coatcheck.aio.by_url("disabled://") as results:
        with pytest.raises(coatcheck.UnsupportedError, match="disabled"):
            await results.wait_for("t")
    async with coatcheck.aio.Results(AioBroken()) as results:
        with pytest.raises(ZeroDivisionError):
            await results.wait_for("t")
    assert "the hub failed, and with it all waits" in caplog.messages


async def test_aio_hub_is_cancelled():
    """Whoever cancels all tasks of a loop leaves no wait hanging."""
    async with coatcheck.aio.by_url("memory://cancelled") as results:
        wait = asyncio.create_task(results.wait_for("t"))
        await asyncio.sleep(0.05)
        for task in asyncio.all_tasks():
            if task.get_name() == "coatcheck-hub":
                task.cancel()
        with pytest.raises(coatcheck.BackendError, match="cancelled"):
            await wait


async def test_aio_bridge_has_few_threads():
    """Many waits over a sync backend cost no thread each."""
    # Clients of other tests keep theirs until they are collected.
    before = threading.enumerate()
    async with coatcheck.aio.by_url("memory://threads") as results:
        waits = [asyncio.create_task(results.wait_for(f"t{n}")) for n in range(500)]
        await asyncio.sleep(0.2)
        new = [thread for thread in threading.enumerate() if thread not in before]
        threads = [thread for thread in new if thread.name.startswith("coatcheck")]
        await results.store_many({f"t{n}": n for n in range(500)})
        await asyncio.gather(*waits)

    assert len(threads) <= 9


class Halved(MemoryBackend):
    """A store of which the half that has the keys with a "b" is away."""

    def __init__(self):
        super().__init__()
        self.away = True

    def get_many(self, keys):
        found = super().get_many(keys)
        unread = {key for key in keys if key.endswith("b") and self.away}
        if not unread:
            return found
        rest = {key: value for key, value in found.items() if key not in unread}
        error = coatcheck.PartlyUnavailableError("half away", found=rest, unread=unread)
        raise error from OSError("no route")


class AioHalved(AioStalling):
    """The same for asyncio."""

    def __init__(self):
        super().__init__()
        self.half = Halved()

    async def put(self, key, value, **how):
        return self.half.put(key, value, **how)

    async def get_many(self, keys):
        return self.half.get_many(keys)


def test_half_of_the_store_is_away(make):
    """What can be read is delivered; the wait for the rest goes on, and ends by its deadline."""
    backend = Halved()
    results = make(backend)
    results.store_many({"a": 1, "b": 2})
    waited = results.as_completed(["a", "b", "c"], timeout=0.3)

    assert "a" == next(waited).task_id
    with pytest.raises(coatcheck.WaitTimeoutError, match="half away") as caught:
        next(waited)
    assert {"b", "c"} == caught.value.task_ids
    backend.away = False
    assert {"a", "b"} == {meta.task_id for meta in results.as_completed(["a", "b"], timeout=5)}


def test_half_of_a_read():
    """A read of many says what it found, as records by task id, and what it could not read."""
    with coatcheck.Results(Halved()) as results:
        results.store_many({"a": 1, "b": 2})
        with pytest.raises(coatcheck.PartlyUnavailableError) as caught:
            results.get_many(["a", "b", "c"])

    assert {"a": 1} == {id_: meta.result for id_, meta in caught.value.found.items()}
    assert {"b"} == caught.value.unread
    assert isinstance(caught.value.__cause__, OSError)


async def test_aio_half_of_the_store_is_away():
    """What can be read is delivered; the rest ends by its deadline."""
    async with coatcheck.aio.Results(AioHalved()) as results:
        await results.store_many({"a": 1, "b": 2})
        waited = results.as_completed(["a", "b"], timeout=0.3)

        assert "a" == (await anext(waited)).task_id
        with pytest.raises(coatcheck.WaitTimeoutError, match="half away"):
            await anext(waited)
        with pytest.raises(coatcheck.PartlyUnavailableError) as caught:
            await results.get_many(["a", "b"])
        assert {"a": 1} == {id_: meta.result for id_, meta in caught.value.found.items()}


def test_as_completed_tells_of_updates():
    """Unready records come too where they are asked for, of several tasks."""
    with coatcheck.by_url("memory://updates") as results:
        results.update_state("a", "PROGRESS", 1)
        results.store_result("b", 2)
        seen = []
        for meta in results.as_completed(["a", "b"], timeout=5, updates=True):
            seen.append((meta.task_id, meta.result))
            if ("a", 1) in seen:
                results.store_result("a", 3)

    assert {("a", 1), ("a", 3), ("b", 2)} == set(seen)


def test_as_completed_calls_meanwhile():
    """What `on_interval` raises ends the wait for several tasks."""
    calls = []

    def call():
        calls.append(1)
        if len(calls) == 3:
            raise KeyError

    with coatcheck.by_url("memory://interval") as results, pytest.raises(KeyError):
        list(results.as_completed(["a", "b"], timeout=5, interval=0.01, on_interval=call))


async def test_aio_as_completed_with_updates_and_interval():
    """So it is for asyncio."""
    calls = []
    async with coatcheck.aio.by_url("memory://aio-updates") as results:
        await results.update_state("a", "PROGRESS", 1)
        seen = []
        async for meta in results.as_completed(
            ["a"], timeout=5, interval=0.01, on_interval=lambda: calls.append(1), updates=True
        ):
            seen.append(meta.result)
            if len(seen) == 1:
                asyncio.get_running_loop().call_later(
                    0.1, lambda: asyncio.ensure_future(results.store_result("a", 2))
                )

    assert [1, 2] == seen
    assert calls


def test_one_look_at_fifty_thousand_ready_records():
    """
    A wait that looks once gets all that is ready, however many portions that takes, and names the
    rest.
    """
    ids = [f"t{n}" for n in range(50_000)]
    found = []
    with coatcheck.by_url("memory://fifty-thousand") as results:
        results.store_many((id_, 1) for id_ in ids)
        with pytest.raises(coatcheck.WaitTimeoutError, match=r": 'never'(;|$)"):
            found.extend(results.as_completed([*ids, "never"], timeout=0))
        assert 50_000 == len(list(results.as_completed(ids, timeout=0)))

    assert sorted(ids) == sorted(meta.task_id for meta in found)


async def test_aio_one_look_at_many_ready_records():
    """
    The same for asyncio.
    """
    ids = [f"t{n}" for n in range(20_000)]
    found = []
    async with coatcheck.aio.by_url("memory://aio-fifty-thousand") as results:
        await results.store_many((id_, 1) for id_ in ids)
        with pytest.raises(coatcheck.WaitTimeoutError, match=r": 'never'(;|$)"):
            async for meta in results.as_completed([*ids, "never"], timeout=0):
                found.append(meta.task_id)

    assert sorted(ids) == sorted(found)


def test_what_nobody_takes_is_not_read():
    """
    Of large records a wait holds a bounded amount, however long its owner takes for each.
    """
    read = []

    class Counting(MemoryBackend):
        def get_many(self, keys):
            read.extend(keys)
            return super().get_many(keys)

    with coatcheck.Results(Counting()) as results:
        ids = [f"t{n}" for n in range(40)]
        results.store_many(dict.fromkeys(ids, "x" * 1_000_000))
        waited = results.as_completed(ids, timeout=30)
        next(waited)
        time.sleep(0.3)
        assert len(read) < 30
        assert 39 == len(list(waited))
        assert 40 == len(set(read))
