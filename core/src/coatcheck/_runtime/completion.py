"""
Completion in interactive shells.
"""

from __future__ import annotations

from collections.abc import Iterable


def shown(names: Iterable[str]) -> list[str]:
    """Return the names that `dir()` shows of an object of ours: all but private ones."""
    return [name for name in names if name.startswith("__") or not name.startswith("_")]
