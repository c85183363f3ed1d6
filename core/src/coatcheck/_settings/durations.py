"""
Lifetimes, timeouts and heartbeats: which numbers of seconds each may be.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, Final

from ..errors import ArgumentError

#: How long a record lives: seconds or a timedelta; `None` keeps it.
Expires = float | timedelta | None
#: Seconds between signs of life at most: a worker is noticed as lost after three of them.
LONGEST_HEARTBEAT: Final = 86_400.0


def duration(value: object) -> float:
    """
    Return a number or a `timedelta` in seconds; NaN for anything else, infinity for too large an integer.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def seconds(value: Any) -> float:
    """Read a positive number of seconds."""
    try:
        number = float(value) if isinstance(value, str) else duration(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError("use a positive number of seconds")
    return number


def optional_seconds(value: Any) -> float | None:
    """Read a positive number of seconds, or `None` or "none"."""
    return None if is_none(value) else seconds(value)


def is_none(value: object) -> bool:
    """Whether *value* is `None`, or says so as text."""
    return value is None or (isinstance(value, str) and value.lower() == "none")


def checked_expires(expires: Expires) -> float | None:
    """Return *expires* in seconds. Refuse zero, negative and infinite numbers."""
    if expires is None:
        return None
    seconds = duration(expires)
    if not 0 < seconds < math.inf:
        raise ArgumentError("expires", expires, "use seconds above 0, a timedelta, or None to keep")
    return seconds


def checked_timeout(timeout: float | None) -> float | None:
    """Return *timeout* if it can be one: `None`, or seconds from 0 on."""
    if timeout is None:
        return None
    seconds = duration(timeout)
    if not seconds >= 0:
        raise ArgumentError("a timeout", timeout, "use seconds from 0 on, or None to wait for ever")
    return None if seconds == math.inf else seconds


def checked_heartbeat(heartbeat: float | None) -> float | None:
    """Return *heartbeat* if it can be one: `None`, or seconds above 0."""
    if heartbeat is None:
        return None
    seconds = duration(heartbeat)
    if not 0 < seconds <= LONGEST_HEARTBEAT:
        raise ArgumentError("a heartbeat", heartbeat, "use seconds above 0, at most a day, or None")
    return seconds
