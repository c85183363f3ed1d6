"""
State that belongs to one process: locks, threads, connections. A forked child makes its own.

Not every fork runs Python's hooks: uWSGI, for one, forks its workers in C. So whoever owns such
state registers it here, and calls `check` each time before using it::

    class Pool:
        def __init__(self) -> None:
            self.after_fork()
            forks.register(self)

        def after_fork(self) -> None:
            self._lock = threading.Lock()
            self._idle: list[Connection] = []

        def take(self) -> Connection:
            forks.check()
            ...
"""

from __future__ import annotations

import os
import threading
import weakref
from os import getpid
from typing import Any, Final, Protocol

from ..errors import BackendError


class Forkable(Protocol):
    """Has state that a forked child must not share."""

    def after_fork(self) -> None:
        """
        Replace that state. Runs in the child before anything else uses it.

        Threads of the parent may have left any lock taken: replace locks, never acquire them. After
        an interruption this runs again.
        """


class Quiescent(Forkable, Protocol):
    """
    Has to come to rest before a fork, and may go on after it.

    A fork in C gives no notice: only `after_fork` runs then.
    """

    def before_fork(self) -> None:
        """Come to rest. Runs in the parent, which waits."""

    def after_fork_in_parent(self) -> None:
        """Go on. Runs in the parent."""


#: Plain sets: unlike a `WeakSet` they can be copied while other threads add to them.
_forkables: Final[set[weakref.ref[Any]]] = set()
_quiescent: Final[set[weakref.ref[Any]]] = set()
#: The process that owns all registered state.
_owner = os.getpid()
#: The process that is replacing its state just now.
_replacing: int | None = None
#: By process: a thread of the parent may have held the parent's lock during the fork.
_locks: Final[dict[int, Any]] = {}
#: The parent's, in a child where no hook of Python's ran.
_threads: Final[list[threading.Thread]] = []


def register(forkable: Forkable) -> None:
    """Have `after_fork` called in every forked child, for as long as *forkable* lives."""
    check()
    _forkables.add(weakref.ref(forkable, _forkables.discard))


def register_quiescent(quiescent: Quiescent) -> None:
    """Have all three methods called at every fork, for as long as *quiescent* lives."""
    register(quiescent)
    _quiescent.add(weakref.ref(quiescent, _quiescent.discard))


def check() -> None:
    """
    Call every `after_fork` if this process is a forked child where no hook of Python's did so.

    Costs one `os.getpid`. For any thread: others wait until all state is replaced.
    """
    if getpid() != _owner:
        _take_over()


def torn(file: object) -> BackendError:
    """
    Return the error for a *file* whose locks this process believes in, although only its parent
    holds them.
    """
    return BackendError(
        f"{file}: this process was forked while a thread was using the file, so its locks cannot be "
        "trusted here; fork before the file is used (with uWSGI: lazy-apps = true)"
    )


def _take_over() -> None:
    global _owner, _replacing  # noqa: PLW0603 - there is one process
    process = os.getpid()
    with _locks.setdefault(process, threading.RLock()):
        # The `after_fork` of a forkable may itself call `check`.
        if process in (_owner, _replacing):
            return
        _replacing = process
        try:
            _keep_threads()
            for forkable in _living(_forkables):
                forkable.after_fork()
            _owner = process
        finally:
            _replacing = None


def _keep_threads() -> None:
    """
    Keep the parent's `Thread` objects for good.

    Since 3.13, one that ended but was never joined is detached when it is freed. Where no hook of
    Python's ran, that writes to a stack that is not there any more, and the process may crash.
    """
    # Not by `gc.get_objects`: uWSGI's other threads must not find more references than their own.
    _threads.extend(getattr(threading, "_dangling", ()))


def _living(refs: set[weakref.ref[Any]]) -> list[Any]:
    return [living for ref in list(refs) if (living := ref()) is not None]


def _before() -> None:
    check()
    for quiescent in _living(_quiescent):
        quiescent.before_fork()


def _after_in_parent() -> None:
    for quiescent in _living(_quiescent):
        quiescent.after_fork_in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_take_over)
