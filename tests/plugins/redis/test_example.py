"""
The example of docs/examples/redis_across_processes runs, on two connections.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "redis_across_processes" / "client.py"


@pytest.mark.parametrize("tasks", [10_000])
def test_example(server, oracle, tasks):
    """All results arrive over at most two connections; a killed worker hangs nobody."""
    environment = {**os.environ, "COATCHECK_URL": server.url}
    client = subprocess.Popen(
        [sys.executable, str(EXAMPLE), "--tasks", str(tasks)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    held = 0
    deadline = time.monotonic() + 240
    while client.poll() is None:
        assert time.monotonic() < deadline
        held = max(held, connections_of(oracle, client.pid))
        time.sleep(0.05)
    output, errors = client.communicate()

    assert 0 == client.returncode, errors
    assert f"{tasks} results of 2 workers" in output
    assert "no sign of life" in output
    assert 1 <= held <= 2


def connections_of(oracle, pid: int) -> int:
    """Return how many connections to the server the process *pid* holds."""
    import psutil

    port = oracle.config_get("port")["port"]
    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return 0
    return sum(1 for c in found if c.raddr and c.raddr.port == int(port))
