"""
`Results` beyond the contract: what reviews and users found.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
import uuid

import pytest

import coatcheck
import coatcheck.aio
from coatcheck._embedded.memory import MemoryBackend
from coatcheck.plugin import Query

DEADLINE = 30


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4()}"


@pytest.fixture
def results(url):
    with coatcheck.by_url(url) as results:
        yield results


@pytest.mark.parametrize("protect", ["SUCCESS", ["SUCCESS"], {"SUCCESS"}])
def test_protect_takes_states(results, protect):
    """The states to protect are a set, a list, or one."""
    results.store_result("t", 1)

    assert not results.store_result("t", 2, protect=protect)


@pytest.mark.parametrize("protect", ["success", ("success",)])
def test_protect_takes_only_states(results, protect):
    """What is no state is refused; it would protect nothing."""
    with pytest.raises(coatcheck.ArgumentError, match="upper-case"):
        results.store_result("t", 2, protect=protect)


def test_the_same_id_twice(results):
    """Of two values for one id the first is stored, and that is what the answer says."""
    assert {"t": True} == results.store_many([("t", 1), ("t", 2)])
    assert 1 == results.get_result("t")


def test_wait_right_after_close(url):
    """A wait that begins while another one is broken by close() is served."""
    results = coatcheck.by_url(url)
    got: list[object] = []

    def wait() -> None:
        try:
            results.wait_for("t", DEADLINE)
        except coatcheck.BackendError:
            got.append(results.wait_for("t", DEADLINE).result)

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.1)
    results.close()
    with coatcheck.by_url(url) as other:
        other.store_result("t", 1)
    waiter.join(DEADLINE)

    assert [1] == got
    results.close()


def test_reused_id(results):
    """An id that was waited for, forgotten and is waited for anew rings again."""
    results.store_result("job", 1)
    results.wait_for("job", DEADLINE)
    results.forget("job")
    for _ in range(2):
        wait = threading.Thread(
            target=lambda: list(results.as_completed(["job"], timeout=DEADLINE))
        )
        wait.start()
        results.store_result("job", 2)
        wait.join(DEADLINE)
        assert not wait.is_alive()


class Stalling(MemoryBackend):
    """Answers no read."""

    def __init__(self):
        super().__init__()
        self.answer = threading.Event()

    def get_many(self, keys):
        self.answer.wait(DEADLINE)
        return super().get_many(keys)


def test_missing_keeps_the_deadline():
    """Asking for a known task is a part of the wait: it ends at the deadline."""
    backend = Stalling()
    with coatcheck.Results(backend) as results:
        with pytest.raises(coatcheck.WaitTimeoutError):
            results.AsyncResult("t").get(timeout=0.05, missing="raise")
        backend.answer.set()


def test_missing_of_a_known_task(results):
    """A task that is known is waited for."""
    results.expect("t")
    timer = threading.Timer(0.1, results.store_result, ("t", 1))
    timer.start()

    assert 1 == results.AsyncResult("t").get(timeout=DEADLINE, missing="raise")
    timer.join()


class Indexed(MemoryBackend):
    """Knows by itself which key is in a state."""

    def find(self, query):
        return (key for key in self.scan(query.prefix) if key.endswith(query.state.lower()))


class Listening:
    """A plugin."""

    @coatcheck.hookimpl
    def stored(self, meta):
        """Hear of it, and do nothing."""


@pytest.mark.parametrize("plugins", [[], [Listening()]])
async def test_scan_leaves_states_to_the_store(plugins):
    """A store that finds records by their state is asked for those alone, on both sides."""
    backend = Indexed()
    with coatcheck.Results(backend, plugins=plugins) as results:
        results.store_many({"a-success": 1, "a-failure": 1})

        assert ["a-success"] == [*results.backend.find(Query("a", "SUCCESS"))]
        assert ["a-success"] == [meta.task_id for meta in results.scan(state="SUCCESS")]
        assert [] == [*results.scan(state="FAILURE")]
        async with coatcheck.aio.Results(backend, plugins=plugins) as threaded:
            scan = threaded.scan(state="SUCCESS")
            assert ["a-success"] == [meta.task_id async for meta in scan]


@pytest.mark.parametrize("key", ["celery-task-meta-", "celery-task-meta-\udcff"])
def test_scan_survives_foreign_keys(results, key):
    """A scan does not die of a key that no id of ours could have made."""
    results.backend.backend.put(key, b"{}", unless=frozenset(), expires=60)
    results.store_result("t", 1)

    assert "t" in [meta.task_id for meta in results.scan()]


def test_loops_leave_nothing(url):
    """An object that serves many event loops keeps nothing of those that are closed."""
    results = coatcheck.aio.by_url(url)

    async def use() -> None:
        await results.store_result("t", 1)
        await results.wait_for("t", DEADLINE)

    for _ in range(5):
        asyncio.run(use())

    assert 0 == len(results._hubs._values)


FORK = """
import os, sys, threading, coatcheck
url = sys.argv[1]
results = coatcheck.by_url(url)
results.store_result("before", 1)
busy = threading.Thread(target=lambda: [results.store_many({f"{n}-{i}": i for i in range(200)})
                                        for n in range(20)])
busy.start()
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    assert results.store_result("c1", 1)
    os.read(read, 1)
    assert results.store_result("c2", 2)
    os._exit(0)
busy.join()
results.close()
os.write(write, b"!")
assert os.waitpid(pid, 0)[1] == 0
with coatcheck.by_url(url) as other:
    assert other.get_result("c2") == 2, other.get_task_meta("c2")
    assert not other.store_result("c2", 99)
    assert other.get_result("19-199") == 199
"""


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_fork_in_the_middle(tmp_path, scheme):
    """A child forked while a thread writes stores for all to see, also after its parent closed."""
    place = tmp_path / "store"
    if scheme == "file":
        place.mkdir()
    environment = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORK), f"{scheme}:///{place}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )

    assert (0, "") == (ended.returncode, ended.stderr)
