"""
Workers that die, stand still, or have another time: noticed by who waits, whatever the store.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support.redis import RedisServer

import coatcheck
import coatcheck.aio
from coatcheck.testing.child import children
from coatcheck.testing.proof import PATIENCE
from coatcheck.testing.threads import Started, until

EVERY = 0.5
#: What four intervals may take beside themselves on a machine under load, in seconds.
SLACK = 15.0
URLS = ["sqlite", "file", "redis"]

#: A worker whose clock is two hours off, the dates of its records too.
SKEWED = """
import datetime, json, sys, time
hours = float(sys.argv[3])
real, datetimes = time.time, datetime.datetime
time.time = lambda: real() + hours * 3600

class Skewed(datetimes):
    @classmethod
    def now(cls, zone=None):
        return datetimes.now(zone) + datetime.timedelta(hours=hours)

datetime.datetime = Skewed
import coatcheck
with coatcheck.by_url(sys.argv[1]) as results:
    with results.running("t", heartbeat=float(sys.argv[2])) as task:
        print("started", flush=True)
        sys.stdin.readline()
        task.result = "done"
print(json.dumps(task.won))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One Redis for all of them."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=URLS)
def url(request, tmp_path, server):
    """The URL of an empty store."""
    if request.param == "redis":
        server.ask("FLUSHALL")
        return server.url
    return f"sqlite:///{tmp_path}/r.db" if request.param == "sqlite" else f"file://{tmp_path}/r"


@pytest.mark.parametrize(
    ("url", "job"),
    [
        ("sqlite", "work"),
        pytest.param("file", "work", marks=pytest.mark.chaos),
        ("redis", "aio_work"),
    ],
    indirect=["url"],
)
def test_a_killed_worker_is_noticed(url, job):
    """Waits of both colours that are open when a worker is killed end within four heartbeats."""
    with coatcheck.by_url(url) as results, children([(job, (url, "t", EVERY))]) as (child,):
        child.go()
        until(lambda: results.get_state("t") == "STARTED")
        wait = Started(results.AsyncResult("t").get, PATIENCE)
        aio_wait = Started(asyncio.run, aio_get(url))
        until(lambda: (results.get_task_meta("t").heartbeat or {})["beat"] > 2)
        child.process.kill()
        killed = time.monotonic()
        for started in (wait, aio_wait):
            with pytest.raises(coatcheck.WorkerLostError, match="no sign of life"):
                started.answer()

        assert time.monotonic() - killed < 4 * EVERY + SLACK
        assert "FAILURE" == results.get_state("t")
        assert not results.store_result("t", "late")


async def aio_get(url):
    """Wait under asyncio."""
    async with coatcheck.aio.by_url(url) as results:
        await results.AsyncResult("t").get(PATIENCE)


@pytest.mark.parametrize(
    ("url", "hours"),
    [("redis", -2), pytest.param("sqlite", 2, marks=pytest.mark.chaos)],
    indirect=["url"],
)
def test_clocks_need_not_agree(url, hours):
    """A worker whose clock is off is alive as long as it says so, and lost when it stops."""
    command = [sys.executable, "-c", SKEWED, url, str(EVERY), str(hours)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes)
    try:
        assert "started\n" == process.stdout.readline()
        with coatcheck.by_url(url) as results:
            with pytest.raises(coatcheck.WaitTimeoutError):
                results.wait_for("t", 4 * EVERY)
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(coatcheck.WorkerLostError):
                results.AsyncResult("t").get(PATIENCE)
            os.kill(process.pid, signal.SIGCONT)
            answer, _ = process.communicate("end\n", PATIENCE)

            assert False is json.loads(answer)
            assert "FAILURE" == results.get_state("t")
    finally:
        process.kill()
        process.communicate()


def test_one_of_many_writes_what_all_notice(url):
    """Of many who notice, one writes, and those who may only read are told as well."""
    with coatcheck.by_url(url) as results:
        results.store_result("t", None, "STARTED", heartbeat={"every": 0.3, "beat": 1})
        clients = [coatcheck.by_url(url, read_only=n == 0) for n in range(4)]
        waits = [Started(client.AsyncResult("t").get, PATIENCE) for client in clients]
        for wait in waits:
            with pytest.raises(coatcheck.WorkerLostError):
                wait.answer()
        meta = results.get_task_meta("t")
        for client in clients:
            client.close()

        assert ("FAILURE", "WorkerLostError") == (meta.status, meta.failure.qualname)
