"""
Text for people: one line, harmless to a terminal, of a readable length.
"""

from __future__ import annotations

from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))


def printable(text: str) -> str:
    """
    Return *text* with control characters, and what cannot be shown, escaped.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def one_line(text: str, limit: int | None = None) -> str:
    """
    Return *text* as one printable line, cut to *limit* characters.
    """
    line = printable(" ".join(text.split()))
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1]}…"


def span(seconds: float) -> str:
    """
    Return a duration in its largest unit, such as "8.1 s" or "3 h".
    """
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
