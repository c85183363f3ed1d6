"""
Servers that do nothing for a while.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from coatcheck.testing.threads import until


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """
    Have the process and its children do nothing.
    """
    parent = psutil.Process(pid)
    family = [parent]
    try:
        stop(pid)
        family += parent.children(recursive=True)
        for child in family[1:]:
            stop(child.pid)
        yield
    finally:
        for process in family:
            process.resume()


def stop(pid: int) -> None:
    """
    Stop the process, and wait until it stands still: each of its threads stops when it gets to
    it, and until then may well answer.
    """
    psutil.Process(pid).suspend()
    until(lambda: all(state == "T" for state in _states(pid)))


def _states(pid: int) -> Iterator[str]:
    """
    Return the states of the threads, as proc(5) says; of none where there is no /proc.
    """
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        yield thread.read_text().rpartition(")")[2].split()[0]
