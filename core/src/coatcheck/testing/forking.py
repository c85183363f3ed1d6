"""
Forks that run no hook of ours, as those of uWSGI, which forks in C.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

from .forked import forked

PARENT: Final = "parent"
CHILD: Final = "child"


def fork() -> int:
    """
    Fork without any hook but Python's own; return as `os.fork` does.

    Without those a child may hang in a lock of the interpreter or of the standard library, if another
    thread holds it, which no library can mend.
    """
    all_hooks = [(hooks, [*hooks]) for hooks in _registered()]
    try:
        for hooks, before in all_hooks:
            hooks[:] = filter(_is_of_python, before)
        return os.fork()
    finally:
        for hooks, before in all_hooks:
            hooks[:] = before


@cache
def _registered() -> list[list[Callable[[], object]]]:
    """Return the interpreter's own lists of the hooks of `os.register_at_fork`."""
    return [_list_of(when) for when in ("before", "after_in_parent", "after_in_child")]


def _list_of(when: str) -> list[Callable[[], object]]:
    marker = partial(int)
    os.register_at_fork(**{when: marker})
    [hooks] = (found for found in gc.get_referrers(marker) if type(found) is list)
    return hooks


def _is_of_python(hook: Any) -> bool:
    """Whether the standard library registered *hook*, which may be a method of a lock."""
    called: Any = hook.func if isinstance(hook, partial) else hook
    module = called.__module__ or type(called.__self__).__module__
    return module.partition(".")[0] in sys.stdlib_module_names - {"builtins"}


def on_both_sides(act: Callable[[str], object]) -> None:
    """
    Fork without our hooks, and call *act* with "parent" and "child" at the same time. Raise the
    error of either.
    """
    with forked(lambda: act(CHILD), fork):
        act(PARENT)
