"""
The clocks that all of coatcheck uses. No test can stop them.

freezegun replaces `time.monotonic` and `time.time` wherever it finds them, for some threads and not
for others: a wait on such a clock never ends, or its two sides disagree. It does not find the functions
bound here, and it leaves `time.clock_gettime` alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

#: Seconds, from any start, that only go on: for deadlines and pauses.
monotonic: Final[Callable[[], float]] = (
    partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    if hasattr(time, "CLOCK_MONOTONIC")
    else partial(time.monotonic)
)
#: Seconds since 1970: for the lives of records in stores whose time is this machine's.
wall: Final[Callable[[], float]] = partial(time.time)


def reached(moment: list[float]) -> Callable[[], bool]:
    """
    Return a function that tells whether the time *moment*, a list of one, is over.

    It consists of C functions. A Python function would run signal handlers, and SQLite discards
    exceptions that come out of its callbacks.
    """
    return map(float.__lt__, iter(partial(max, moment), None), iter(monotonic, None)).__next__
