"""
What has to be made anew in a forked child: locks, threads and connections.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, Protocol


class Forkable(Protocol):
    """
    Has state that a forked child must not share.
    """

    def after_fork(self) -> None:
        """
        Replace that state. Runs in the child, with one thread, before anything else does.
        """


_forkables: weakref.WeakSet[Any] = weakref.WeakSet()


def register(forkable: Forkable) -> None:
    """
    Have `after_fork` called in every forked child, for as long as *forkable* lives.
    """
    _forkables.add(forkable)


def _after_fork_in_child() -> None:
    for forkable in list(_forkables):
        forkable.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
