"""
The bridge from an asyncio backend to synchronous code.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, contextmanager

import pytest

import coatcheck
import coatcheck.aio
from coatcheck.aio.plugin import PerLoop, on_loop
from coatcheck.errors import ThreadStartError
from coatcheck.testing.starved import without_threads
from coatcheck.testing.threads import until

FOR_EVER = 30.0


class Ringing(coatcheck.aio.Bell):
    """A bell that rings for what was put."""

    pushing = True

    def __init__(self):
        super().__init__()
        self.rang = set()

    async def wait(self, timeout):
        await super().wait(timeout)
        rang, self.rang = self.rang, set()
        return rang


class Dict(coatcheck.aio.KeyValueBackend):
    """A store for one process, which says what is open."""

    PROTOCOL_VERSION = 1
    capabilities = coatcheck.Capability.PUSH

    def __init__(self):
        self.values = {}
        self.bells = []
        self.open = []
        self.cancelled = threading.Event()
        self.begun = threading.Event()
        self.connections = PerLoop(self._connect, self._disconnect)

    def _connect(self):
        self.open.append(threading.current_thread().name)
        return self.open[-1]

    async def _disconnect(self, connection):
        self.open.remove(connection)

    async def put(self, key, value, *, unless, if_match=None, expires):
        self.connections.get()
        if key in self.values and unless:
            return False
        self.values[key] = value
        for bell in self.bells:
            bell.rang.add(key)
            bell.wake()
        return True

    async def get_many(self, keys):
        self.connections.get()
        return {key: self.values[key] for key in keys if key in self.values}

    async def delete_many(self, keys):
        try:
            self.begun.set()
            await asyncio.sleep(FOR_EVER)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @asynccontextmanager
    async def watch(self, keys=()):
        # A task group has to be left by the task that entered it.
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(asyncio.sleep(FOR_EVER))
            bell = Ringing()
            self.bells.append(bell)
            try:
                yield bell
            finally:
                self.bells.remove(bell)
                waiting.cancel()

    async def close(self):
        connection = self.connections.pop()
        if connection is not None:
            await self._disconnect(connection)


def loops():
    """Return the threads that run a loop."""
    return [thread for thread in threading.enumerate() if thread.name == "coatcheck-loop"]


@pytest.fixture(autouse=True)
def _no_loop():
    """A test begins and ends without a loop."""
    assert [] == loops()
    yield
    gc.collect()
    until(lambda: not loops())


def test_one_loop_for_all():
    """All backends share one loop. It ends when the last of them is closed, and can start again."""
    first, second = coatcheck.Results(Dict()), coatcheck.Results(on_loop(Dict()))
    assert [] == loops()
    for results in (first, second):
        results.store_result("t", 1)
        assert 1 == results.wait_for("t", 5).result
    assert 1 == len(loops())
    first.close()
    assert 1 == len(loops())
    assert 1 == second.get_result("t")
    second.close()
    assert [] == loops()
    assert 1 == first.get_result("t")
    first.close()


def test_close_disconnects():
    """Nothing is open after `close`, and the loop is gone when it returns."""
    native = Dict()
    with coatcheck.Results(native) as results:
        results.store_result("t", 1)
        assert ["coatcheck-loop"] == native.open
    assert ([], []) == (native.open, loops())


def test_dropped():
    """A backend that is dropped without being closed leaves nothing open either."""
    native = Dict()
    kept, dropped = coatcheck.Results(Dict()), coatcheck.Results(native)
    for results in (kept, dropped):
        results.store_result("t", 1)
    opened = native.open
    del results, dropped, native
    gc.collect()

    until(lambda: not opened)
    assert 1 == len(loops())
    kept.close()


def test_a_wait_is_woken():
    """A write in another thread wakes a wait, and the subscription ends."""
    native = Dict()
    with coatcheck.Results(native, safety_look=FOR_EVER) as results:
        storing = threading.Timer(0.1, results.store_result, ("t", 1))
        storing.start()
        assert 1 == results.wait_for("t", FOR_EVER).result
        storing.join()
    assert [] == native.bells


def test_wake():
    """`wake` ends the wait that goes on, or else the next one."""
    backend = on_loop(Dict())
    with backend.watch() as bell:
        bell.wake()
        assert set() == bell.wait(FOR_EVER)
        threading.Timer(0.05, bell.wake).start()
        assert set() == bell.wait(FOR_EVER)
    backend.close()


def test_watch_fails():
    """What entering a subscription raises is raised here, and nothing stays."""

    class Deaf(Dict):
        @asynccontextmanager
        async def watch(self, keys=()):
            raise coatcheck.BackendUnavailableError("no subscription")
            yield

    backend = on_loop(Deaf())
    with pytest.raises(coatcheck.BackendUnavailableError, match="no sub"), backend.watch():
        raise AssertionError
    backend.close()


def test_no_thread():
    """Where no thread can start, the call says so, and the next one works."""
    results = coatcheck.Results(Dict())
    with without_threads(), pytest.raises(ThreadStartError, match="coatcheck-loop"):
        results.store_result("t", 1)
    assert results.store_result("t", 1)
    results.close()


class Limit(Exception):
    pass


@contextmanager
def alarm(kind, seconds):
    """Have an alarm raise *kind* in the main thread."""

    def handler(_number, frame):
        raise kind("time is up")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", [Limit, TimeoutError, KeyboardInterrupt])
def test_interrupted(kind):
    """What a signal handler raises comes out as it is, and the operation is cancelled."""
    native = Dict()
    with coatcheck.Results(native) as results:
        results.store_result("t", 1)
        with pytest.raises(kind, match="time is up"), alarm(kind, 0.05):
            results.forget("t")
        assert native.begun.is_set()
        assert native.cancelled.wait(FOR_EVER)
        assert 1 == results.get_result("t")


def test_storm_of_alarms():
    """Alarms at any moment break nothing: `TimeoutError`, which `asyncio` swallows itself."""

    def read_on(results):
        end = time.monotonic() + FOR_EVER
        while time.monotonic() < end:
            results.get_result("t")

    with coatcheck.Results(Dict()) as results:
        results.store_result("t", 1)
        for number in range(200):
            with pytest.raises(TimeoutError, match="time is up"):
                with alarm(TimeoutError, 0.0005 + number % 20 / 50_000):
                    read_on(results)
        assert 1 == results.get_result("t")


def test_no_descriptor():
    """Where the loop lacks descriptors, the call says so, and the next one works."""
    code = """
import os, resource
import coatcheck
from tests.core.test_asyncio_bridge import Dict, loops

before = resource.getrlimit(resource.RLIMIT_NOFILE)
full = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]  # no hole is left below
for number in range(9):
    results = coatcheck.Results(Dict())
    used = full[-1] + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + number, before[1]))
    try:
        results.store_result("t", 1)
    except coatcheck.ThreadStartError as error:
        assert "coatcheck-loop" in str(error)
    else:
        print(number)
        break
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert results.store_result("t", 2)
    results.close()
    assert not loops()
"""
    done = run(code)

    assert "" == done.stderr
    assert int(done.stdout) > 1


def test_exit():
    """A process that closed nothing ends at once and says nothing."""
    code = """
import coatcheck
from tests.core.test_asyncio_bridge import Dict
results = coatcheck.Results(Dict())
results.store_result("t", 1)
print(results.wait_for("t", 5).result)
"""
    done = run(code)

    assert ("1\n", "") == (done.stdout, done.stderr)


def run(code):
    """Run *code* in a process of its own that takes warnings for errors."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert 0 == done.returncode, done.stderr
    return done


def test_import_is_lazy():
    """Those who need no loop do not import asyncio."""
    code = """
import sys
import coatcheck
coatcheck.by_url("memory://").store_result("t", 1)
print("asyncio" in sys.modules)
"""
    assert "False\n" == run(code).stdout
