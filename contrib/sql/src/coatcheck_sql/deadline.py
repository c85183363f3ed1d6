"""
Until when what is being done has to be over::

    before = DEADLINE.get()
    try:
        DEADLINE.set(monotonic() + seconds)
        ...
    finally:
        DEADLINE.set(before)

So no exception of a signal handler leaves it set: such a one comes after a call into C, and there is
none between `try` and the first `set`, or between `finally` and the second.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from coatcheck.plugin import monotonic

#: By the monotonic clock; of the thread, or the task.
DEADLINE: Final[ContextVar[float]] = ContextVar("coatcheck_sql_deadline", default=float("inf"))


def left() -> float:
    """
    Return the seconds left, less than 0 where there are none.
    """
    return DEADLINE.get() - monotonic()
