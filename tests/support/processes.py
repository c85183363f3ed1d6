"""
How servers are started, and how they do nothing for a while.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from coatcheck.testing.threads import until

#: How many ports a process that runs tests may use.
PORTS = 1000


def free_port() -> int:
    """
    Return a port that nobody listens on, and that the system assigns to no client.

    So a server can come back to its port, and nobody takes the port of a server that is away.
    """
    for port in itertools.islice(_PORTS, PORTS):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


def _own_ports() -> Iterator[int]:
    """
    Return the ports of this process, again and again; those of pytest-xdist's workers differ.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    blocks = [*range(10_000, _first_of_clients() - PORTS, PORTS)] or [10_000]
    first = blocks[(zlib.crc32(run.encode()) + worker) % len(blocks)]
    return itertools.cycle(range(first, first + PORTS))


def _first_of_clients() -> int:
    """
    Return the first of the ports that the system assigns to clients.
    """
    limits = Path("/proc/sys/net/ipv4/ip_local_port_range")
    return int(limits.read_text().split()[0]) if limits.exists() else 32_768


_PORTS = _own_ports()


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
