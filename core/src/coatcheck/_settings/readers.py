"""
Values of options, as text or as Python objects, to what an option stands for. `ValueError` for others.
"""

from __future__ import annotations

from typing import Any, Final

from .durations import is_none

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


def boolean(value: Any) -> bool:
    """Read a yes or no."""
    text = str(value).lower()
    if text in _TRUE | _FALSE:
        return text in _TRUE
    raise ValueError("use 1 or 0, true or false, yes or no")


def words(value: Any) -> tuple[Any, ...]:
    """Read a list: a comma-separated text, or an iterable."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return (value,) if isinstance(value, type) else tuple(value)


def size(value: Any) -> int:
    """Read a number of bytes."""
    return _whole(value, "use a whole number of bytes")


def count(value: Any) -> int:
    """Read a whole number from 0 on."""
    return _whole(value, "use a whole number")


def _whole(value: Any, advice: str) -> int:
    text = "" if isinstance(value, bool) else str(value)
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(advice)
    return int(text)


def text(value: Any) -> Any:
    """Read a name, or an object in its place."""
    if not value:
        raise ValueError("it must not be empty")
    return value


def optional_text(value: Any) -> Any:
    """Read a name, or `None` or "none"."""
    return None if is_none(value) else text(value)
