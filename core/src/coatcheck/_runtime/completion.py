"""
What interactive shells offer of an object.
"""

from __future__ import annotations

from collections.abc import Iterable


def shown(names: Iterable[str]) -> list[str]:
    """
    Return the names that `dir()` shows of what users hold: all but private ones.
    """
    return [name for name in names if name.startswith("__") or not name.startswith("_")]
