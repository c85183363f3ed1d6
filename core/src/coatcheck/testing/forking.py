"""
Forks that run no hook of ours, as those of uWSGI, which forks in C.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from .. import forks
from .forked import forked

PARENT: Final = "parent"
CHILD: Final = "child"


def fork() -> int:
    """
    Fork without our hooks; return as `os.fork` does.

    Python's own hooks run. Without them a child may hang in a lock of the interpreter if another
    thread waits for it, which no library can mend.
    """
    parent, living = os.getpid(), forks._living
    forks._living = lambda refs: []  # noqa: ARG005
    try:
        child = os.fork()
    finally:
        forks._living = living
    if child == 0:
        forks._owner = parent  # nobody has noticed yet
    return child


def on_both_sides(act: Callable[[str], object]) -> None:
    """
    Fork without our hooks, and call *act* with "parent" and "child" at the same time. Raise what
    either raises.
    """
    with forked(lambda: act(CHILD), fork):
        act(PARENT)
