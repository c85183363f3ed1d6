"""
What the interpreter does while bytes are decoded: imports, calls of the system, files, classes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: The audit events of which none may occur while stored bytes are read, or that start so.
FORBIDDEN = (
    "import",
    "open",
    "exec",
    "compile",
    "pickle.find_class",
    "marshal.",
    "os.",
    "shutil.",
    "socket.",
    "subprocess.",
    "ctypes.",
    "code.__new__",
    "function.__new__",
    "sys._getframe",
)

_state = threading.local()


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if getattr(_state, "armed", False) and event.startswith(FORBIDDEN):
        _state.armed = False  # what follows is the report
        _state.seen = f"{event}{args!r}"
        raise Forbidden(_state.seen)


class Forbidden(BaseException):
    """
    Something happened that decoding may not do. No handler of errors catches it.
    """


@contextmanager
def watched() -> Iterator[None]:
    """
    Raise `Forbidden` for what is forbidden in this thread, also where it was swallowed.
    """
    _state.seen = ""
    _state.armed = True
    try:
        yield
    finally:
        _state.armed = False
    if _state.seen:
        raise Forbidden(_state.seen)


sys.addaudithook(_hook)
