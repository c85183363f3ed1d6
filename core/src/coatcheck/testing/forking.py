"""
Forks by C code, as uWSGI makes them: none of Python's hooks run, neither before nor after.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Final

from .forked import forked

PARENT: Final = "parent"
CHILD: Final = "child"


def fork() -> int:
    """
    Fork in C; return as `os.fork` does.
    """
    # A child that is forked while another thread waits for the interpreter's lock may hang in that
    # lock, which nothing but Python's hooks can mend. After a pause our threads are all at rest.
    time.sleep(0.05)
    return int(ctypes.PyDLL(None).fork())


def on_both_sides(act: Callable[[str], object]) -> None:
    """
    Fork in C, and call *act* with "parent" and "child" at the same time. Raise what either raises.
    """
    with forked(lambda: act(CHILD), fork):
        act(PARENT)
