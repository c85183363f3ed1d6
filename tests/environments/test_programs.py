"""
Environments that change Python's threads, loops, clocks or limits, each with each store in a
process of its own. programs.py has the programs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.environments

PROGRAMS = Path(__file__).parent / "programs.py"
NAMES = [
    "gevent", "eventlet", "uvloop", "eager", "dev", "freezegun", "time_machine", "nproc", "nofile",
]  # fmt: skip
AT_ONCE = 4


def run(name: str, url: str) -> str:
    """Return the output of a program."""
    strict = ["-X", "dev", "-W", "error"] if name == "dev" else []
    ended = subprocess.run(
        [sys.executable, *strict, str(PROGRAMS), name, url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=400,
    )  # fmt: skip
    return ended.stdout if ended.returncode == 0 else f"{ended.returncode}: {ended.stdout}"


@pytest.mark.parametrize("name", NAMES)
def test_all_stores(urls, name):
    """All of it is done on each store; in development mode nothing is warned of."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        said = dict(zip(urls, threads.map(lambda url: run(name, url), urls.values()), strict=True))

    # A driver may complain about missing descriptors.
    heard = {store: text if name == "dev" else text[-3:] for store, text in said.items()}
    assert {} == {store: said[store] for store, text in heard.items() if text != "ok\n"}
