"""
What every backend must keep, sync and asyncio: the promises of DESIGN section 3 in small.

A subclass gives the URL; the tests are the same for all stores.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

import coatcheck
import coatcheck.aio
from coatcheck import Capability

VALUES: list[Any] = [
    None, 0, -1, 2**70, 1.5, float("inf"), True, "", "text", "snow ☃", "\x00", [], {}, [1, [2, [3]]],
    {"a": {"b": None}}, b"\xff\x00", {1: "one"}, {"x": {1, 2}}, timedelta(days=31), "x" * 100_000,
    {"__type__": "datetime", "__value__": "no date"},
]  # fmt: skip
IDS = [
    "plain", "with space", "x" * 500, "emoji 🎉", "line\nbreak", "celery-task-meta-nested", "a/b/../c",
    "*?[x]", "'quoted\"", "%s%d", "{tag}", "tab\tand\x01control",
]  # fmt: skip
WRITERS = 8


def store_in_child(url: str, task_id: str, value: Any) -> None:
    """
    Store from another process.
    """
    with coatcheck.by_url(url) as results:
        results.store_result(task_id, value)


def race_in_child(url: str, task_id: str, number: int, won: Any) -> None:
    """
    Take part in a race of processes.
    """
    with coatcheck.by_url(url) as results:
        if results.store_result(task_id, number):
            won.put(number)


def break_off_in_child(url: str, task_id: str) -> None:
    """
    Start a task with a heartbeat and vanish.
    """
    results = coatcheck.by_url(url)
    results.running(task_id, heartbeat=0.1).__enter__()
    os._exit(1)


def raw_store(results: Any, task_id: str, data: bytes) -> Any:
    """
    Put *data* in place of the record, through the backend alone.
    """
    store = getattr(results.backend, "backend", results.backend)  # out of the thread bridge
    store = store if hasattr(store, "put") and hasattr(store, "scan") else results.backend
    while hasattr(store, "backend"):
        store = store.backend
    return store.put(f"celery-task-meta-{task_id}", data, unless=frozenset(), expires=60.0)


DAMAGED = {
    "newer": b'{"status": "SUCCESS", "result": 1, "v": 2, "task_id": "newer"}',
    "pickled": pickle.dumps({"status": "SUCCESS", "result": 1}, protocol=4),
    "cut": b'{"status": "SUCCESS", "result": [1, 2',
    "no-state": b'{"result": [1, 2]}',
    "noise": b"\xff\xfe\x00noise",
    "envelope": b"\xc1COAT\x01rest",
    "list": b"[1, 2]",
    "tag": b'{"status": "SUCCESS", "result": {"__type__": "date", "__value__": "x"}}',
}
READABLE = {"newer", "pickled", "cut", "tag"}


class Contract:
    """
    For synchronous code.
    """

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def results(self, url):
        with coatcheck.by_url(url) as results:
            yield results

    @pytest.fixture
    def other(self, url):
        with coatcheck.by_url(url) as results:
            yield results

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_round_trip(self, results, other, value):
        """What is stored is what another client gets."""
        results.store_result("t", value)

        assert value == other.AsyncResult("t").get(timeout=5)
        assert type(value) is type(other.get_result("t"))

    @pytest.mark.parametrize("task_id", IDS)
    def test_ids(self, results, task_id):
        """Ids of any shape work, and do not touch each other."""
        assert results.store_result(task_id, task_id)

        assert task_id == results.wait_for(task_id, 5).result
        assert not results.get_task_meta(task_id + "x").known
        assert [task_id] == [meta.task_id for meta in results.scan()]
        assert results.forget(task_id)

    def test_first_ready_wins(self, results):
        """A ready record stays, whatever comes after; unready ones give way."""
        assert results.mark_as_started("t")
        assert results.update_state("t", "PROGRESS", {"n": 1})
        assert results.store_result("t", 1)
        assert not results.store_result("t", 2)
        assert not results.mark_as_failure("t", ValueError("late"))
        assert not results.mark_as_started("t")

        assert 1 == results.get_result("t")

    @pytest.mark.parametrize("first", ["SUCCESS", "FAILURE", "REVOKED"])
    def test_all_ready_states_are_protected(self, results, first):
        """Failures and revocations are as final as successes."""
        results.store_result("t", None if first == "SUCCESS" else ValueError("x"), first)

        assert not results.store_result("t", "late")
        assert first == results.get_state("t")

    def test_protect(self, results):
        """The looser rule of Celery can be had."""
        results.mark_as_failure("t", ValueError("first try"))

        assert results.store_result("t", 2, protect=frozenset({"SUCCESS"}))
        assert not results.store_result("t", 3, protect=frozenset({"SUCCESS"}))
        assert 2 == results.get_result("t")

    def test_same_write_again(self, results):
        """A write that is repeated and finds itself is a success; one like it is not."""
        meta = results._writer.record("t", "SUCCESS", 1)
        put = results.backend.put

        assert put("t", meta, unless=coatcheck.results.states.READY_STATES, expires=60)
        assert put("t", meta, unless=coatcheck.results.states.READY_STATES, expires=60)
        assert not results.store_result("t", 1)

    def test_if_match(self, results):
        """A write over exactly one record does not touch another one."""
        results.mark_as_started("t")
        observed = results.get_task_meta("t")
        results.update_state("t", "PROGRESS")
        meta = results._writer.record("t", "SUCCESS", 1)

        assert not results.backend.put("t", meta, unless=frozenset(), if_match=observed, expires=60)
        observed = results.get_task_meta("t")
        assert results.backend.put("t", meta, unless=frozenset(), if_match=observed, expires=60)
        assert not results.backend.put(
            "gone", meta, unless=frozenset(), if_match=observed, expires=9
        )
        assert "SUCCESS" == results.get_state("t")

    def test_race_of_threads(self, results):
        """Of many threads exactly one is the first, and its record stays."""
        start = threading.Barrier(WRITERS)
        won: list[int] = []

        def write(number: int) -> None:
            start.wait()
            if results.store_result("t", number):
                won.append(number)

        threads = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert won == [results.get_result("t")]

    def test_race_of_processes(self, results, url):
        """Of several processes exactly one is the first, and its record stays."""
        if Capability.SHARED not in results.backend.capabilities:
            return
        context = multiprocessing.get_context("spawn")
        won = context.Queue()
        racers = [context.Process(target=race_in_child, args=(url, "t", n, won)) for n in range(3)]
        for racer in racers:
            racer.start()
        winner = won.get(timeout=60)
        for racer in racers:
            racer.join(60)

        assert won.empty()
        assert winner == results.get_result("t")
        won.close()

    def test_expiry(self, results):
        """An expired record is absent, to reads and to writes; every write restarts its life."""
        results.store_result("short", 1, expires=0.3)
        results.store_result("kept", 1, expires=None)
        results.store_result("long", 1, expires=timedelta(days=31))
        results.mark_as_started("renewed", expires=0.3)
        results.mark_as_started("renewed", expires=60)
        deadline = time.monotonic() + 5
        while results.exists("short"):
            assert time.monotonic() < deadline
            time.sleep(0.02)

        assert results.store_result("short", 2)
        assert [True, True, True] == [results.exists(i) for i in ("kept", "long", "renewed")]

    @pytest.mark.parametrize("expires", [0, -1, float("nan"), float("inf"), True])
    def test_no_life(self, results, expires):
        """A life of nothing or less is refused, and nothing is stored."""
        with pytest.raises(ValueError, match="expires"):
            results.store_result("t", 1, expires=expires)
        assert not results.exists("t")

    def test_unknown(self, results):
        """Unknown is not pending."""
        handle = results.AsyncResult("nothing")

        assert "PENDING" == handle.state
        assert not handle.exists()
        assert not handle.meta().known
        with pytest.raises(coatcheck.UnknownTaskError, match="nothing"):
            handle.get(missing="raise")
        assert not results.forget("nothing")

    def test_expect(self, results):
        """An expected task is known; what is there stays."""
        assert results.expect("t")
        assert results.AsyncResult("t").meta().known
        assert not results.expect("t")
        results.store_result("t", 1)
        assert not results.expect("t")

        assert 1 == results.get_result("t")

    def test_forget(self, results):
        """A forgotten id is new."""
        results.store_result("t", 1)

        assert results.forget("t")
        assert not results.exists("t")
        assert results.store_result("t", 2)

    def test_wait_after(self, results):
        """A wait for what is there returns."""
        results.store_result("t", 1)

        assert 1 == results.wait_for("t").result
        assert 1 == results.wait_for("t", 0).result

    def test_wait_before(self, results, other):
        """A wait that began before the store is woken by it, by every of many waiters."""
        got: list[Any] = []
        waiters = [
            threading.Thread(target=lambda: got.append(results.wait_for("t", 30).result))
            for _ in range(10)
        ]
        for waiter in waiters:
            waiter.start()
        time.sleep(0.05)
        other.store_result("t", "now")
        for waiter in waiters:
            waiter.join()

        assert ["now"] * 10 == got

    def test_wait_across_processes(self, results, url):
        """A wait is woken by another process."""
        if Capability.SHARED not in results.backend.capabilities:
            return
        context = multiprocessing.get_context("spawn")
        child = context.Process(target=store_in_child, args=(url, "t", [1, 2]))
        child.start()

        assert [1, 2] == results.AsyncResult("t").get(timeout=60)
        child.join()

    @pytest.mark.parametrize("timeout", [0, 0.05, 0.3])
    def test_timeout(self, results, timeout):
        """A wait for what does not come ends, not before its time."""
        start = time.monotonic()

        with pytest.raises(coatcheck.WaitTimeoutError, match="'t'") as caught:
            results.wait_for("t", timeout)
        assert time.monotonic() - start >= timeout
        assert {"t"} == caught.value.task_ids
        assert isinstance(caught.value, TimeoutError)

    def test_on_interval(self, results):
        """What is called while waiting can end the wait."""
        calls = [1, 2, 3]

        with pytest.raises(IndexError):
            results.wait_for("t", 30, interval=0.01, on_interval=calls.pop)
        assert [] == calls

    def test_as_completed(self, results, other):
        """Many tasks come as they are stored, each once."""
        ids = [f"t{n}" for n in range(1000)]
        other.store_many({id_: id_ for id_ in ids[:500]})
        storing = threading.Thread(
            target=lambda: [other.store_result(id_, id_) for id_ in ids[500:]]
        )
        storing.start()
        got = [meta.result for meta in results.as_completed(ids, timeout=60)]
        storing.join()

        assert sorted(ids) == sorted(got)

    def test_as_completed_times_out(self, results):
        """What is there comes, then the rest is named."""
        results.store_many({"a": 1, "b": 2})
        got = []

        with pytest.raises(coatcheck.WaitTimeoutError) as caught:
            got.extend(meta.task_id for meta in results.as_completed("abcd", timeout=0.1))
        assert ["a", "b"] == sorted(got)
        assert {"c", "d"} == caught.value.task_ids

    def test_as_completed_at_once(self, results):
        """A timeout of 0 looks once at every one of many tasks."""
        ids = [f"t{n}" for n in range(2500)]
        results.store_many(dict.fromkeys(ids, 1))

        assert 2500 == len(list(results.as_completed(ids, timeout=0)))

    def test_broken_off(self, results):
        """A wait that its owner breaks off leaves nothing waiting."""
        results.store_result("a", 1)
        for meta in results.as_completed(["a", "b"]):
            assert "a" == meta.task_id
            break
        results.wait_for("a", 5)
        deadline = time.monotonic() + 10
        while not results._hub.idle:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def test_hub_ends(self, results):
        """The thread that looks ends a while after the last wait."""
        results.store_result("a", 1)
        results.wait_for("a")
        deadline = time.monotonic() + 20

        while any(thread.name == "coatcheck-hub" for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert 1 == results.wait_for("a", 5).result

    def test_close_during_wait(self, url):
        """Closing breaks the waits, and a later call opens anew."""
        results = coatcheck.by_url(url)
        caught: list[Exception] = []

        def wait() -> None:
            try:
                results.wait_for("t", 30)
            except coatcheck.BackendError as error:
                caught.append(error)

        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.1)
        results.close()
        waiter.join(20)

        assert 1 == len(caught)
        assert results.store_result("t", 1)
        assert 1 == results.wait_for("t", 5).result
        results.close()

    def test_running(self, results, other):
        """A block is STARTED, shows progress, and ends in its result."""
        with results.running("t", name="resize") as task:
            started = other.get_task_meta("t")
            task.progress(3, 10, note="n")
            progress = other.get_task_meta("t")
            task.result = 42

        assert ("STARTED", "resize") == (started.status, started.name)
        assert ("PROGRESS", {"current": 3, "total": 10, "note": "n"}) == (
            progress.status,
            progress.result,
        )
        meta = other.get_task_meta("t")
        assert (True, 42, "resize") == (task.won, meta.result, meta.name)
        assert started.date_started == meta.date_started
        assert meta.date_done >= meta.date_started

    def test_running_fails(self, results):
        """An exception of the block makes FAILURE and goes on."""
        with pytest.raises(KeyError), results.running("t"):
            raise KeyError("k")

        with pytest.raises(KeyError, match="k") as caught:
            results.AsyncResult("t").get(timeout=5)
        assert "raise KeyError" in str(caught.value.__cause__)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
    def test_running_is_broken_off(self, results, error):
        """An interrupted block is REVOKED, and the interruption goes on."""
        with pytest.raises(error), results.running("t"):
            raise error

        assert "REVOKED" == results.get_state("t")
        with pytest.raises(coatcheck.TaskRevokedError, match=error.__name__):
            results.AsyncResult("t").get(timeout=5)

    def test_running_lost(self, results):
        """Who ends second hears of it, and the first record stays."""
        with results.running("t") as task:
            results.store_result("t", "first")
            task.result = "second"

        assert task.won is False
        assert "first" == results.get_result("t")

    def test_heartbeat(self, results):
        """A task that gives signs of life is not lost, however long it takes."""
        with results.running("t", heartbeat=0.05) as task:
            with pytest.raises(coatcheck.WaitTimeoutError):
                results.wait_for("t", 1)
            beat = results.get_task_meta("t").heartbeat
            task.result = 1

        assert beat["every"] == 0.05
        assert beat["beat"] > 3
        assert 1 == results.get_result("t")
        assert results.get_task_meta("t").heartbeat is None

    def test_lost_worker(self, results, url):
        """A worker that vanished is noticed by who waits, and its record says so."""
        if Capability.SHARED in results.backend.capabilities:
            context = multiprocessing.get_context("spawn")
            child = context.Process(target=break_off_in_child, args=(url, "t"))
            child.start()
            child.join()
        else:
            results.store_result("t", None, "STARTED", heartbeat={"every": 0.1, "beat": 7})

        with pytest.raises(coatcheck.WorkerLostError, match="no sign of life"):
            results.AsyncResult("t").get(timeout=30)
        assert "FAILURE" == results.get_state("t")
        assert "billiard.exceptions" == results.get_task_meta("t").failure.module

    def test_updates(self, results, other):
        """States and progress come as they change, up to the ready one."""
        other.mark_as_started("t")
        got = []
        for meta in results.AsyncResult("t").updates(timeout=30):
            got.append((meta.status, meta.result))
            if meta.status == "STARTED":
                other.update_state("t", "PROGRESS", 1)
            elif meta.result == 1:
                other.update_state("t", "PROGRESS", 2)
            elif meta.result == 2:
                other.store_result("t", "end")

        assert [("STARTED", None), ("PROGRESS", 1), ("PROGRESS", 2), ("SUCCESS", "end")] == got

    @pytest.mark.parametrize("name", DAMAGED)
    def test_damaged_records(self, results, name):
        """A record that cannot be read is one with an error, and nobody dies of it."""
        raw_store(results, name, DAMAGED[name])
        results.store_result("fine", 1)

        metas = results.get_many([name, "fine", "nothing"])
        assert [name, "fine", "nothing"] == list(metas)
        assert isinstance(metas[name].error, coatcheck.SerializationError)
        assert repr(name) in str(metas[name].error)
        assert ("SUCCESS" if name in READABLE else "PENDING") == metas[name].status
        assert {name, "fine"} == {meta.task_id for meta in results.scan()}
        if name in READABLE:
            with pytest.raises(coatcheck.SerializationError):
                results.AsyncResult(name).get(timeout=5)
            assert not results.store_result(name, "new")
        else:
            with pytest.raises(coatcheck.WaitTimeoutError):
                results.wait_for(name, 0.05)
            assert results.store_result(name, "new")

    def test_foreign_key_order(self, results):
        """A ready record is protected although its first bytes do not show the state."""
        raw_store(results, "t", b'{"result": "x", "status": "SUCCESS", "task_id": "t"}')
        raw_store(results, "u", b'{"result": "SUCCESS", "status": "STARTED", "task_id": "u"}')

        assert not results.store_result("t", "late")
        assert "x" == results.get_result("t")
        assert results.store_result("u", "ready")
        assert {"t": False, "u": False} == results.store_many({"t": 1, "u": 2})

    def test_unencodable(self, results):
        """A value that cannot be kept is a failure that waiters hear of, and an error here."""
        with pytest.raises(coatcheck.EncodeError, match=r"result\['a'\]\[1\]"):
            results.store_result("t", {"a": [1, object()]})

        with pytest.raises(TypeError, match=r"result\['a'\]\[1\]"):
            results.AsyncResult("t").get(timeout=5)
        with pytest.raises(coatcheck.EncodeError):
            results.update_state("u", "PROGRESS", object())
        assert not results.exists("u")

    def test_too_large(self, results):
        """A value over the limit is a failure that waiters hear of, and an error here."""
        store = results.backend
        while hasattr(store, "backend"):
            store = store.backend
        store.max_value_bytes = 10_000
        with pytest.raises(coatcheck.ResultTooLargeError, match="10000"):
            results.store_result("t", "x" * 10_000)

        assert "FAILURE" == results.get_state("t")
        assert results.mark_as_failure("long", ValueError("y" * 20_000))
        assert results.get_task_meta("long").failure.message.startswith("yyy")
        with pytest.raises(coatcheck.ResultTooLargeError):
            results.store_many({"a": 1, "b": "x" * 10_000, "c": 3})
        assert ["SUCCESS", "FAILURE", "SUCCESS"] == [results.get_state(i) for i in "abc"]

    def test_many(self, results):
        """Batches keep order and answer for each."""
        ids = [f"t{n}" for n in range(1500)]
        results.store_result("t7", "first")
        won = results.store_many({id_: id_ for id_ in ids})

        assert ids == list(won)
        assert ["t7"] == [id_ for id_, first in won.items() if not first]
        metas = results.get_many(reversed(ids))
        assert list(reversed(ids)) == list(metas)
        assert "first" == metas["t7"].result
        assert 1500 == sum(1 for _ in results.scan())
        assert {} == results.store_many({})
        assert {} == results.get_many([])

    def test_scan_by_state(self, results):
        """A scan can be limited to one state."""
        results.store_result("a", 1)
        results.mark_as_started("b")

        assert ["b"] == [meta.task_id for meta in results.scan(state="STARTED")]

    def test_read_only(self, url, results):
        """Who may only read writes nothing, and notices lost workers all the same."""
        results.store_result("t", None, "STARTED", heartbeat={"every": 0.05, "beat": 1})
        with coatcheck.by_url(url, read_only=True) as reader:
            with pytest.raises(coatcheck.UnsupportedError, match="read-only"):
                reader.store_result("t", 1)
            with pytest.raises(coatcheck.UnsupportedError, match="read-only"):
                reader.forget("t")
            with pytest.raises(coatcheck.WorkerLostError):
                reader.AsyncResult("t").get(timeout=30)

        assert "STARTED" == results.get_state("t")

    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_fork(self, results):
        """A forked child waits and stores with the same object, and so does its parent."""
        results.store_result("before", 1)
        results.wait_for("before", 5)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                results.wait_for("before", 20)
                results.store_result("child", 2)
                status = 0
            finally:
                os._exit(status)
        if Capability.SHARED in results.backend.capabilities:
            assert 2 == results.wait_for("child", 30).result
        assert 0 == os.waitpid(pid, 0)[1]

        assert results.store_result("parent", 3)
        assert 3 == results.wait_for("parent", 5).result

    def test_handle(self, results):
        """A handle reads until the task is ready, and remembers it then."""
        handle = results.AsyncResult("t")
        results.update_state("t", "PROGRESS", 5)
        assert ("PROGRESS", 5, False) == (handle.state, handle.info, handle.ready())
        results.mark_as_failure("t", ValueError("bad"))

        assert (True, True, False) == (handle.ready(), handle.failed(), handle.successful())
        assert "bad" == str(handle.result)
        assert handle.date_done is not None
        with pytest.raises(ValueError, match="bad"):
            handle.get()
        with pytest.raises(coatcheck.TaskError, match="ValueError: bad"):
            handle.get(wrap=True)
        assert "bad" == str(handle.get(propagate=False))
        results.forget("t")
        assert "FAILURE" == handle.state
        assert not handle.forget()
        assert "PENDING" == handle.state


class AioContract:
    """
    For asyncio: the same promises.
    """

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    async def results(self, url):
        async with coatcheck.aio.by_url(url) as results:
            yield results

    @pytest.fixture
    def other(self, url):
        with coatcheck.by_url(url) as results:
            yield results

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    async def test_round_trip(self, results, other, value):
        """What is stored is what the other side gets, both ways."""
        await results.store_result("t", value)
        other.store_result("u", value)

        assert value == other.AsyncResult("t").get(timeout=5)
        assert value == await results.AsyncResult("u").get(timeout=5)

    @pytest.mark.parametrize("task_id", IDS)
    async def test_ids(self, results, task_id):
        """Ids of any shape work."""
        assert await results.store_result(task_id, task_id)

        assert task_id == (await results.wait_for(task_id, 5)).result
        assert [task_id] == [meta.task_id async for meta in results.scan()]
        assert await results.forget(task_id)

    async def test_first_ready_wins(self, results):
        """A ready record stays, whatever comes after."""
        assert await results.mark_as_started("t")
        assert await results.store_result("t", 1)
        assert not await results.store_result("t", 2)
        assert not await results.mark_as_failure("t", ValueError("late"))
        assert not await results.mark_as_retry("t")
        assert not await results.mark_as_revoked("t")
        assert not await results.mark_as_done("t")

        assert 1 == await results.get_result("t")
        assert await results.get_traceback("t") is None

    async def test_race(self, results):
        """Of many tasks exactly one is the first."""
        won = await asyncio.gather(*(results.store_result("t", n) for n in range(50)))

        assert [await results.get_result("t")] == [n for n, first in enumerate(won) if first]

    async def test_same_write_again(self, results):
        """A write that is repeated and finds itself is a success."""
        meta = results._writer.record("t", "SUCCESS", 1)
        put = results.backend.put

        assert await put("t", meta, unless=frozenset({"SUCCESS"}), expires=60)
        assert await put("t", meta, unless=frozenset({"SUCCESS"}), expires=60)
        assert not await results.store_result("t", 1)

    async def test_expiry(self, results):
        """An expired record is absent."""
        await results.store_result("short", 1, expires=0.3)
        await results.store_result("kept", 1, expires=None)
        deadline = time.monotonic() + 5
        while await results.exists("short"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

        assert await results.store_result("short", 2)
        assert await results.exists("kept")

    async def test_unknown(self, results):
        """Unknown is not pending, until it is expected."""
        handle = results.AsyncResult("t")

        assert "PENDING" == await handle.state()
        assert not await handle.exists()
        with pytest.raises(coatcheck.UnknownTaskError):
            await handle.get(missing="raise")
        assert await results.expect("t")
        assert await handle.exists()
        assert not await results.expect("t")

    async def test_wait_after(self, results):
        """A wait for what is there returns, also at once; a handle can be awaited."""
        await results.store_result("t", 1)

        assert 1 == await results.AsyncResult("t")
        assert 1 == (await results.wait_for("t", 0)).result

    async def test_wait_before(self, results, other):
        """Waits that began before the store are woken by it."""
        waits = [asyncio.create_task(results.wait_for("t", 30)) for _ in range(10)]
        await asyncio.sleep(0.05)
        await asyncio.to_thread(other.store_result, "t", "now")

        assert ["now"] * 10 == [meta.result for meta in await asyncio.gather(*waits)]

    @pytest.mark.parametrize("timeout", [0, 0.05, 0.3])
    async def test_timeout(self, results, timeout):
        """A wait for what does not come ends, not before its time."""
        start = time.monotonic()

        with pytest.raises(coatcheck.WaitTimeoutError, match="'t'"):
            await results.wait_for("t", timeout)
        assert time.monotonic() - start >= timeout

    async def test_on_interval(self, results):
        """What is called while waiting can end the wait."""

        def stop() -> None:
            raise LookupError

        with pytest.raises(LookupError):
            await results.wait_for("t", 30, interval=0.01, on_interval=stop)

    async def test_as_completed(self, results):
        """Many tasks come as they are stored, each once."""
        ids = [f"t{n}" for n in range(1000)]
        await results.store_many({id_: id_ for id_ in ids[:500]})
        storing = asyncio.create_task(results.store_many({id_: id_ for id_ in ids[500:]}))
        got = [meta.result async for meta in results.as_completed(ids, timeout=60)]
        await storing

        assert sorted(ids) == sorted(got)

    async def test_as_completed_times_out(self, results):
        """What is there comes, then the rest is named."""
        await results.store_many({"a": 1, "b": 2})
        got = []

        with pytest.raises(coatcheck.WaitTimeoutError) as caught:
            async for meta in results.as_completed("abcd", timeout=0.1):
                got.append(meta.task_id)
        assert ["a", "b"] == sorted(got)
        assert {"c", "d"} == caught.value.task_ids

    async def test_cancelled_waits(self, results):
        """Cancelled waits leave nothing behind."""
        waits = [asyncio.create_task(results.wait_for(f"t{n}", 30)) for n in range(200)]
        await asyncio.sleep(0.05)
        for wait in waits:
            wait.cancel()
        ended = await asyncio.gather(*waits, return_exceptions=True)

        assert all(isinstance(error, asyncio.CancelledError) for error in ended)
        assert results._hubs.get().idle
        await results.store_result("t0", 1)
        assert 1 == (await results.wait_for("t0", 5)).result

    async def test_cancelled_store(self, results):
        """A cancelled store is undetermined, at most once, and breaks nothing."""
        stores = [asyncio.create_task(results.store_result("t", n)) for n in range(20)]
        await asyncio.sleep(0.001)
        for store in stores[::2]:
            store.cancel()
        ended = await asyncio.gather(*stores, return_exceptions=True)

        assert sum(answer is True for answer in ended) <= 1
        assert await results.store_result("u", 1)
        assert 1 == await results.AsyncResult("u").get(timeout=5)

    async def test_close_during_wait(self, url):
        """Closing breaks the waits, and a later call opens anew."""
        results = coatcheck.aio.by_url(url)
        wait = asyncio.create_task(results.wait_for("t", 30))
        await asyncio.sleep(0.1)
        await results.close()

        with pytest.raises(coatcheck.BackendError, match="closed"):
            await wait
        assert await results.store_result("t", 1)
        assert 1 == (await results.wait_for("t", 5)).result
        await results.close()

    def test_many_loops(self, url):
        """One object serves one event loop after the other."""
        results = coatcheck.aio.by_url(url)

        async def use(number: int) -> int:
            await results.store_result(f"t{number}", number)
            meta = await results.wait_for(f"t{number}", 10)
            await results.close()
            return meta.result

        assert [0, 1, 2] == [asyncio.run(use(number)) for number in range(3)]

    async def test_running(self, results):
        """A block is STARTED, shows progress, and ends in its result."""
        async with results.running("t", name="resize", heartbeat=0.02) as task:
            await task.progress(3, 10)
            progress = await results.get_task_meta("t")
            await asyncio.sleep(0.1)
            task.result = 42

        assert ("PROGRESS", {"current": 3, "total": 10}) == (progress.status, progress.result)
        assert task.won
        assert 42 == await results.AsyncResult("t")

    async def test_running_ends_badly(self, results):
        """An exception makes FAILURE, a cancellation REVOKED, and both go on."""
        with pytest.raises(KeyError):
            async with results.running("f"):
                raise KeyError("k")

        async def block() -> None:
            async with results.running("r"):
                await asyncio.sleep(30)

        task = asyncio.create_task(block())
        while not await results.exists("r"):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert ["FAILURE", "REVOKED"] == [await results.get_state(i) for i in "fr"]
        with pytest.raises(KeyError):
            await results.AsyncResult("f")

    async def test_lost_worker(self, results):
        """A worker that vanished is noticed by who waits."""
        await results.store_result("t", None, "STARTED", heartbeat={"every": 0.05, "beat": 7})

        with pytest.raises(coatcheck.WorkerLostError, match="no sign of life"):
            await results.AsyncResult("t").get(timeout=30)
        assert "FAILURE" == await results.get_state("t")

    async def test_updates(self, results):
        """States and progress come as they change, up to the ready one."""
        await results.mark_as_started("t")
        got = []
        async for meta in results.AsyncResult("t").updates(timeout=30):
            got.append(meta.status)
            if meta.status == "STARTED":
                await results.update_state("t", "PROGRESS", 1)
            elif meta.status == "PROGRESS":
                await results.store_result("t", "end")

        assert ["STARTED", "PROGRESS", "SUCCESS"] == got

    @pytest.mark.parametrize("name", DAMAGED)
    async def test_damaged_records(self, results, other, name):
        """A record that cannot be read is one with an error, and nobody dies of it."""
        raw_store(other, name, DAMAGED[name])

        meta = (await results.get_many([name, "nothing"]))[name]
        assert isinstance(meta.error, coatcheck.SerializationError)
        assert ("SUCCESS" if name in READABLE else "PENDING") == meta.status
        if name in READABLE:
            with pytest.raises(coatcheck.SerializationError):
                await results.AsyncResult(name).get(timeout=5)
            assert not await results.store_result(name, "new")
        else:
            with pytest.raises(coatcheck.WaitTimeoutError):
                await results.wait_for(name, 0.05)
            assert await results.store_result(name, "new")

    async def test_foreign_key_order(self, results, other):
        """A ready record is protected although its first bytes do not show the state."""
        raw_store(other, "t", b'{"result": "x", "status": "SUCCESS", "task_id": "t"}')
        raw_store(other, "u", b'{"result": "SUCCESS", "status": "STARTED", "task_id": "u"}')

        assert not await results.store_result("t", "late")
        assert {"t": False, "u": True} == await results.store_many({"t": 1, "u": 2})

    async def test_unencodable(self, results):
        """A value that cannot be kept is a failure that waiters hear of, and an error here."""
        with pytest.raises(coatcheck.EncodeError):
            await results.store_result("t", object())
        with pytest.raises(coatcheck.EncodeError):
            await results.store_many({"a": 1, "b": object()})

        assert ["FAILURE", "SUCCESS", "FAILURE"] == [await results.get_state(i) for i in "tab"]

    async def test_handle(self, results):
        """A handle reads until the task is ready, and remembers it then."""
        handle = results.AsyncResult("t")
        await results.update_state("t", "PROGRESS", 5)
        assert ("PROGRESS", 5) == (await handle.status(), await handle.info())
        await results.mark_as_failure("t", ValueError("bad"))

        assert await handle.ready()
        assert await handle.failed()
        assert not await handle.successful()
        assert "bad" == str(await handle.result())
        assert await handle.date_done() is not None
        assert await handle.traceback() is None
        assert "bad" == str(await handle.get(propagate=False))
        assert await handle.forget()
        assert "PENDING" == await handle.state()
