"""
The deadline of the operation under way, in this thread or task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final, TypeVar

from coatcheck.plugin import monotonic

T = TypeVar("T")

#: On the monotonic clock.
DEADLINE: Final[ContextVar[float]] = ContextVar("coatcheck_sql_deadline", default=float("inf"))


def left() -> float:
    """Return the seconds left; negative when they are over."""
    return DEADLINE.get() - monotonic()


def until(deadline: float, act: Callable[[], T]) -> T:
    """
    Call *act* with this *deadline* and return its value.

    No exception of a signal handler leaves the deadline set: such an exception comes after a call into C,
    and there is no such call between `try` and the first `set`, or between `finally` and the second.
    """
    before = DEADLINE.get()
    try:
        DEADLINE.set(deadline)
        return act()
    finally:
        DEADLINE.set(before)


async def auntil(deadline: float, act: Callable[[], Awaitable[T]]) -> T:
    """As `until`, for asyncio."""
    before = DEADLINE.get()
    try:
        DEADLINE.set(deadline)
        return await act()
    finally:
        DEADLINE.set(before)
