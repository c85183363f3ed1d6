"""
Until when what is being done has to be over.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Final

#: By the monotonic clock; of the thread, or the task.
DEADLINE: Final[ContextVar[float]] = ContextVar("coatcheck_sql_deadline", default=float("inf"))


def left() -> float:
    """
    Return the seconds left, less than 0 where there are none.
    """
    return DEADLINE.get() - time.monotonic()
