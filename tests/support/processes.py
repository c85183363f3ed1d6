"""
How servers are started, and how they do nothing for a while.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from coatcheck.testing.threads import until


def free_port() -> int:
    """
    Return a port that nobody listens on now.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_quick() -> bool:
    """
    Whether this is `nox -s quick`, or another run of the tests that need no server.
    """
    return os.environ.get("COATCHECK_TESTING_QUICK") == "1"


def serve(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """
    Start a server, a worker, or the installation of another Celery.

    All are started here, so that `conftest.py` finds the tests that need one. Raise in a quick run,
    which must not need any.
    """
    if is_quick():
        raise RuntimeError(f"{command[0]} is started by a test that does not carry the mark server")
    return subprocess.Popen(command, **options)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """
    Have the process and its children do nothing.
    """
    parent = psutil.Process(pid)
    family = [parent]
    try:
        _stop(parent)
        family += parent.children(recursive=True)
        for child in family[1:]:
            _stop(child)
        yield
    finally:
        # The parent last: it reaps its children.
        for process in reversed(family):
            process.resume()


def _stop(process: psutil.Process) -> None:
    """
    Stop the process, and wait until it stands still, or has ended: each of its threads stops when
    it gets to it, and until then may well answer.
    """
    process.suspend()
    until(lambda: {"T", "Z"}.issuperset(_states(process.pid)))


def _states(pid: int) -> Iterator[str]:
    """
    Return the states of the threads, as proc(5) says; of none where there is no /proc.
    """
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # it has ended since
            yield thread.read_text().rpartition(")")[2].split()[0]
