"""
Threads, forks, loops, and the end of the interpreter, each in a process of its own: nothing hangs,
nothing is left, and nothing is warned of. What the processes do is in lives.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.redis import RedisServer

LIVES = Path(__file__).parent / "lives.py"
NAMES = [
    "threads", "prefork", "fork_during_waits", "processes", "running_fork", "loops",
    "one_loop_after_another", "shutdown", "shutdown_in_stream", "shutdown_while_running",
    "aio_shutdown", "greenlets",
]  # fmt: skip
#: Those that are run by default, on Redis: it has connections to share. All else is left to
#: `nox -s chaos`.
SHORT = {"threads", "prefork", "fork_during_waits", "one_loop_after_another", "aio_shutdown", "greenlets"}  # fmt: skip
STORES = ["redis", "memory", "sqlite", "file"]


def lives():
    """Iterate over all combinations."""
    for store in STORES:
        for name in NAMES:
            # Its connections are the process's and not the loop's: of those that nobody closed
            # Python 3.13 warns, as of files.
            if (store, name) == ("sqlite", "aio_shutdown"):
                continue
            default = store == "redis" and name in SHORT
            yield pytest.param(store, name, marks=() if default else pytest.mark.chaos)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One Redis for all of them."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def url(request, tmp_path, server):
    """The URL of an empty store."""
    server.ask("FLUSHALL")
    return {
        "redis": server.url,
        "memory": "memory://lives",
        "sqlite": f"sqlite:///{tmp_path}/r.db",
        "file": f"file://{tmp_path}/r",
    }[request.param]


@pytest.mark.parametrize(("url", "name"), [*lives()], indirect=["url"])
def test_a_life(url, name):
    """The process does all of it, warned of nothing, and ends."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(LIVES), name, url],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip

    assert ("ok\n", "", 0) == (ended.stdout, ended.stderr, ended.returncode)
