"""
What a fork must not copy, and what has to be made anew in the child: locks, threads, connections.
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


class Quiescent(Forkable, Protocol):
    """
    Has to come to rest before a fork, and may go on after it.
    """

    def before_fork(self) -> None:
        """
        Come to rest. Runs in the parent, which waits.
        """

    def after_fork_in_parent(self) -> None:
        """
        Go on. Runs in the parent.
        """


_forkables: weakref.WeakSet[Any] = weakref.WeakSet()
_quiescent: weakref.WeakSet[Any] = weakref.WeakSet()


def register(forkable: Forkable) -> None:
    """
    Have `after_fork` called in every forked child, for as long as *forkable* lives.
    """
    _forkables.add(forkable)


def register_quiescent(quiescent: Quiescent) -> None:
    """
    Have all three methods called at every fork, for as long as *quiescent* lives.
    """
    _forkables.add(quiescent)
    _quiescent.add(quiescent)


def _before() -> None:
    for quiescent in list(_quiescent):
        quiescent.before_fork()


def _after_in_parent() -> None:
    for quiescent in list(_quiescent):
        quiescent.after_fork_in_parent()


def _after_in_child() -> None:
    for forkable in list(_forkables):
        forkable.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
