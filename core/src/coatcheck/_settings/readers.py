"""
Values of options, as text or as Python objects, to what an option stands for. `ValueError` for others.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, Final

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_NONE: Final = "none"


def boolean(value: Any) -> bool:
    """
    Read a yes or no.
    """
    text = str(value).lower()
    if text in _TRUE | _FALSE:
        return text in _TRUE
    raise ValueError("use 1 or 0, true or false, yes or no")


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
    """
    Read a positive number of seconds.
    """
    try:
        number = float(value) if isinstance(value, str) else duration(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError("use a positive number of seconds")
    return number


def optional_seconds(value: Any) -> float | None:
    """
    Read a positive number of seconds, or `None` or "none".
    """
    return None if _is_none(value) else seconds(value)


def words(value: Any) -> tuple[Any, ...]:
    """
    Read a list: a comma-separated text, or an iterable.
    """
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return (value,) if isinstance(value, type) else tuple(value)


def size(value: Any) -> int:
    """
    Read a number of bytes.
    """
    return _whole(value, "use a whole number of bytes")


def count(value: Any) -> int:
    """
    Read a whole number from 0 on.
    """
    return _whole(value, "use a whole number")


def _whole(value: Any, advice: str) -> int:
    text = "" if isinstance(value, bool) else str(value)
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(advice)
    return int(text)


def text(value: Any) -> Any:
    """
    Read a name, or an object in its place.
    """
    if not value:
        raise ValueError("it must not be empty")
    return value


def optional_text(value: Any) -> Any:
    """
    Read a name, or `None` or "none".
    """
    return None if _is_none(value) else text(value)


def _is_none(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.lower() == _NONE)
