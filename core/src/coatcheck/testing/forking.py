"""
Forks by C code, as uWSGI makes them: none of Python's hooks run, neither before nor after.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import time
import traceback
from collections.abc import Callable
from typing import Final

from .proof import PATIENCE

PARENT: Final = "parent"
CHILD: Final = "child"


def fork() -> int:
    """
    Fork in C; return as `os.fork` does. A child that hangs shows where, and ends.
    """
    # A child that is forked while another thread waits for the interpreter's lock may hang in that
    # lock, which nothing but Python's hooks can mend. After a pause our threads are all at rest.
    time.sleep(0.05)
    child = int(ctypes.PyDLL(None).fork())
    if child == 0:
        # A thread that waits for that, as pytest has one, would be missing here.
        faulthandler.register(signal.SIGALRM, file=2, chain=True)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    return child


def on_both_sides(act: Callable[[str], object]) -> None:
    """
    Fork in C, and call *act* with "parent" and "child" at the same time. Raise what either raises.
    """
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        _end(act, writing)
    os.close(writing)
    try:
        act(PARENT)
    finally:
        trouble = os.read(reading, 100_000).decode()
        os.close(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert (trouble, status) == ("", 0), f"the forked child ended with {status}: {trouble}"


def _end(act: Callable[[str], object], writing: int) -> None:
    """
    Do the child's part, and be gone: pytest goes on in the parent.
    """
    status = 1
    try:
        act(CHILD)
        status = 0
    except BaseException:  # noqa: BLE001 - told to the parent
        os.write(writing, traceback.format_exc().encode())
    finally:
        os._exit(status)
