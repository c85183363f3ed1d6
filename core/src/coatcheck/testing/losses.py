"""
Objects that an interruption loses; the garbage collector closes them with a warning.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])

#: The longest chain of finalizers that each make new garbage.
_ROUNDS: Final = 10
_IGNORED: Final = (
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore:coroutine .* was never awaited:RuntimeWarning",
)


def lossy(test: Test) -> Test:
    """
    Mark a synchronous test that interrupts others: its losses are collected before it ends, silently.

    Otherwise they would warn in a later test, and fail that.
    """
    marked = pytest.mark.filterwarnings(*_IGNORED)(_collected()(test))
    return cast("Test", marked)


@contextmanager
def _collected() -> Iterator[None]:
    # Log records and pytest's record of unraisable errors would keep tracebacks alive.
    hook = sys.unraisablehook
    sys.unraisablehook = _forget
    logging.disable()
    try:
        yield
    finally:
        _collect()
        logging.disable(logging.NOTSET)
        sys.unraisablehook = hook


def _forget(_: object) -> None:
    """Stand in for `sys.unraisablehook`."""


def _collect() -> None:
    for _ in range(_ROUNDS):
        if not gc.collect():
            return
