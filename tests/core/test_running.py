"""
`running()` where the store is away, or somebody else was first; sync and asyncio.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time

import pytest

import coatcheck
import coatcheck.aio
from coatcheck._embedded.memory import MemoryBackend
from coatcheck.testing.sides import until as aio_until
from coatcheck.testing.threads import until


class Away(MemoryBackend):
    """Refuses writes while `away`."""

    away = True

    def put(self, key, value, **options):
        if self.away:
            raise coatcheck.BackendUnavailableError("away")
        return super().put(key, value, **options)


@pytest.fixture
def backend():
    return Away()


@pytest.fixture
def results(backend):
    with coatcheck.Results(backend) as results:
        yield results


@pytest.fixture
async def aio_results(backend):
    async with coatcheck.aio.Results(backend) as results:
        yield results


def test_the_work_is_done(results, backend, caplog):
    """A store that is away at the start does not keep the block from being run."""
    caplog.set_level(logging.WARNING, "coatcheck")
    with results.running("t") as task:
        backend.away = False
        task.result = 1

    assert 1 == results.get_result("t")
    assert "away" in caplog.text


async def test_the_work_is_done_aio(aio_results, backend):
    """A store that is away at the start does not keep the block from being run."""
    async with aio_results.running("t") as task:
        backend.away = False
        task.result = 1

    assert 1 == await aio_results.get_result("t")


def test_the_blocks_exception_is_not_masked(results):
    """Where the failure cannot be stored, the block's exception goes on with a note."""
    with pytest.raises(KeyError) as caught, results.running("t"):
        raise KeyError("mine")
    assert ["coatcheck: the failure could not be stored: away"] == caught.value.__notes__


async def test_the_blocks_exception_is_not_masked_aio(aio_results):
    """Where the failure cannot be stored, the block's exception goes on with a note."""
    with pytest.raises(KeyError) as caught:
        async with aio_results.running("t"):
            raise KeyError("mine")
    assert ["coatcheck: the failure could not be stored: away"] == caught.value.__notes__


def test_a_result_that_is_not_stored_is_an_error(results):
    """Where the result cannot be stored, the block raises that."""
    with pytest.raises(coatcheck.BackendUnavailableError, match="away"), results.running("t"):
        pass


async def test_a_result_that_is_not_stored_is_an_error_aio(aio_results):
    """Where the result cannot be stored, the block raises that."""
    with pytest.raises(coatcheck.BackendUnavailableError, match="away"):
        async with aio_results.running("t"):
            pass


def test_progress_that_is_not_stored(results, backend, caplog):
    """A store that is away does not break the work off; its next write shows the progress."""
    with results.running("t", heartbeat=0.02) as task:
        task.progress(1)
        backend.away = False
        deadline = time.monotonic() + 20
        while not results.exists("t"):
            assert time.monotonic() < deadline
            time.sleep(0.01)

        assert ("PROGRESS", 1) == (results.get_state("t"), results.get_result("t")["current"])
    assert "away" in caplog.text


def test_progress_that_cannot_be_kept(results, backend):
    """Progress at fault is an error of the block, and the heart beats on."""
    backend.away = False
    with results.running("t", heartbeat=0.02) as task:
        task.progress(1)
        with pytest.raises(coatcheck.EncodeError):
            task.progress(2, detail=object())
        beat = results.get_task_meta("t").heartbeat["beat"]
        deadline = time.monotonic() + 20
        while results.get_task_meta("t").heartbeat["beat"] < beat + 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)

        assert 1 == results.get_result("t")["current"]
    assert task.won


async def test_progress_that_cannot_be_kept_aio(aio_results, backend):
    """Progress at fault is an error of the block, and the heart beats on."""
    backend.away = False
    async with aio_results.running("t", heartbeat=0.02) as task:
        with pytest.raises(coatcheck.EncodeError):
            await task.progress(2, detail=object())
        beat = (await aio_results.get_task_meta("t")).heartbeat["beat"]
        async with asyncio.timeout(20):
            while (await aio_results.get_task_meta("t")).heartbeat["beat"] < beat + 3:
                await asyncio.sleep(0.01)
    assert task.won


@pytest.mark.parametrize("heartbeat", [0, -1, float("nan"), float("inf"), "10", True])
def test_heartbeats_that_cannot_be(results, heartbeat):
    """A heartbeat that is no positive number of seconds is refused."""
    with pytest.raises(coatcheck.ArgumentError, match="heartbeat"):
        results.running("t", heartbeat=heartbeat)


def test_unencodable_result(results, backend):
    """A result that cannot be kept is an error of the block, and the task's failure."""
    backend.away = False
    with pytest.raises(coatcheck.EncodeError), results.running("t") as task:
        task.result = object()

    assert "FAILURE" == results.get_state("t")


def test_heartbeat_outlives_a_store_that_is_away(results, backend):
    """The heart beats again when the store is back."""
    with results.running("t", heartbeat=0.02):
        time.sleep(0.1)
        backend.away = False
        deadline = time.monotonic() + 20
        while not results.exists("t"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


async def test_heartbeat_outlives_a_store_that_is_away_aio(aio_results, backend):
    """The heart beats again when the store is back."""
    async with aio_results.running("t", heartbeat=0.02):
        await asyncio.sleep(0.1)
        backend.away = False
        async with asyncio.timeout(20):
            while not await aio_results.exists("t"):
                await asyncio.sleep(0.01)


def test_heart_stops_when_the_task_is_over(results, backend):
    """A task that somebody else ended gives no further signs of life."""
    backend.away = False
    with results.running("t", heartbeat=0.02) as task:
        results.mark_as_revoked("t", "enough")
        task._own.beating.join(20)

        assert not task._own.beating.is_alive()
    assert task.won is False
    with pytest.raises(coatcheck.TaskRevokedError, match="enough"):
        results.AsyncResult("t").get()


async def test_heart_stops_when_the_task_is_over_aio(aio_results, backend):
    """A task that somebody else ended gives no further signs of life."""
    backend.away = False
    async with aio_results.running("t", heartbeat=0.02) as task:
        await aio_results.mark_as_revoked("t", "enough")
        await asyncio.wait([task._beating], timeout=20)

        assert task._beating.done()
    assert task.won is False


class Reads:
    """Counts the reads, of which a sign of life takes one."""

    def __init__(self):
        self.count = 0

    @coatcheck.hookimpl
    def read(self, metas):
        self.count += 1


def test_retry_is_not_undone():
    """A RETRY that somebody recorded stays, however late a sign of life comes; progress is news."""
    reads = Reads()
    with (
        coatcheck.by_url("memory://retried", plugins=[reads]) as results,
        results.running("t", heartbeat=0.01) as task,
    ):
        until(lambda: reads.count > 3)
        results.mark_as_retry("t", ValueError("again"))
        seen = reads.count
        until(lambda: reads.count > seen + 5)
        retried = results.get_state("t")
        task.progress(1)
        until(lambda: results.get_task_meta("t").heartbeat["beat"] > 5)

    assert "RETRY" == retried
    assert task.won


async def test_retry_is_not_undone_aio():
    """A RETRY that somebody recorded stays, however late a sign of life comes; progress is news."""
    reads = Reads()
    async with coatcheck.aio.by_url("memory://retried", plugins=[reads]) as results:
        async with results.running("u", heartbeat=0.01) as task:

            async def more(count):
                return reads.count > count

            await aio_until(lambda: more(3))
            await results.mark_as_retry("u", ValueError("again"))
            seen = reads.count
            await aio_until(lambda: more(seen + 5))
            retried = await results.get_state("u")
            await task.progress(1)
            seen = reads.count
            await aio_until(lambda: more(seen + 5))
            meta = await results.get_task_meta("u")

    assert "RETRY" == retried
    assert "PROGRESS" == meta.status
    assert task.won


def test_another_run_is_not_undone():
    """A worker that was taken for lost, and whose task runs elsewhere, stays silent."""
    reads = Reads()
    with coatcheck.by_url("memory://rerun", plugins=[reads]) as results:
        with results.running("t", heartbeat=0.01), results.running("t", name="second"):
            seen = reads.count
            until(lambda: reads.count > seen + 5)

            assert "second" == results.get_task_meta("t").name


def test_a_forgotten_task_shows_again():
    """Where nothing is left of a record, by expiry or a restart, the next sign of life is one."""
    with coatcheck.by_url("memory://forgotten") as results:
        with results.running("t", heartbeat=0.01):
            until(lambda: results.forget("t"))
            until(lambda: results.get_state("t") == "STARTED")


def test_own_states(results, backend):
    """A block may name states of its own."""
    backend.away = False
    with results.running("t") as task:
        task.update_state("COMPRESSING", {"file": "a"})

        assert ("COMPRESSING", {"file": "a"}) == (
            results.get_state("t"),
            results.get_result("t"),
        )
        with pytest.raises(coatcheck.ArgumentError, match="upper-case"):
            task.update_state("lower")


def test_silent_by_default():
    """A program that set up no logging sees none of ours."""
    program = (
        "import coatcheck\n"
        "results = coatcheck.by_url('sqlite:////dev/null/no.db')\n"
        "try:\n"
        "    with results.running('t'): pass\n"
        "except coatcheck.BackendError: pass\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert b"" == ended.stderr


def test_deleted_file(tmp_path):
    """A database file that is deleted or replaced is made anew, not written in the dark."""
    path = tmp_path / "results.db"
    with coatcheck.by_url(f"sqlite:///{path}") as results:
        results.store_result("t", 1)
        for file in tmp_path.iterdir():
            file.unlink()
        results.store_result("u", 2)

        with coatcheck.by_url(f"sqlite:///{path}") as other:
            assert ["u"] == [meta.task_id for meta in other.scan()]


def test_a_block_that_is_tried_again(results, backend):
    """It ends in RETRY, unless the next attempt has begun or ended; what it noted is in the record."""
    backend.away = False
    with (
        pytest.raises(OSError, match="busy"),
        results.running("t", heartbeat=60, extra={"a": 1}) as task,
    ):
        task.note(b=2)
        task.retry()
        raise OSError("busy")
    meta = results.get_task_meta("t")
    assert ("RETRY", None, {"a": 1, "b": 2}) == (meta.status, meta.heartbeat, meta.extra)
    assert isinstance(meta.result, OSError)

    with pytest.raises(OSError, match="busy"), results.running("t") as task:
        results.running("t", heartbeat=60).__enter__()
        task.retry()
        raise OSError("busy")
    assert "STARTED" == results.get_state("t")


async def test_a_block_that_is_tried_again_aio(aio_results, backend):
    """It ends in RETRY; a block that ends well is a success whatever was announced."""
    backend.away = False
    with pytest.raises(OSError, match="busy"):
        async with aio_results.running("t", heartbeat=60) as task:
            task.note(b=2)
            task.retry()
            raise OSError("busy")
    meta = await aio_results.get_task_meta("t")
    assert ("RETRY", None, {"b": 2}) == (meta.status, meta.heartbeat, meta.extra)

    async with aio_results.running("t") as task:
        task.retry()
    assert "SUCCESS" == await aio_results.get_state("t")
