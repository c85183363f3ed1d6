"""
Progress as commands print it: percentages, "3/10", and the terminal's own sequence for it.
"""

from __future__ import annotations

import re
from typing import Final

#: How much of a line is looked at.
_LONGEST_LINE: Final = 4096

#: OSC 9;4, as ConEmu, Windows Terminal and others read it: state 0 takes the bar away.
_EXPLICIT: Final = re.compile(rb"\x1b\]9;4;([0-4]);?(\d{0,3})(?:\x07|\x1b\\)")
_ESCAPES: Final = re.compile(
    rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])"
)
_PERCENT: Final = re.compile(rb"(?<![\w.,])(\d{1,3}(?:\.\d+)?) ?%")
# Not a date, a path or a version; and not a number that is still incomplete.
_FRACTION: Final = re.compile(
    rb"(?<![\w/.,:-])(\d+(?:\.\d+)?) ?/ ?(\d+(?:\.\d+)?)(?=[^\w/.,:-]|[.,:](?:\D|\Z)|\Z)"
)

Progress = tuple[float, float]


class ProgressReader:
    """Finds progress in the output of a command, which comes in pieces."""

    def __init__(self) -> None:
        self._line = b""
        self._explicit = False

    def feed(self, data: bytes) -> Progress | None:
        """Return the last progress (how far, of how much) that *data* completes, or `None`."""
        *ended, self._line = re.split(rb"[\r\n]", self._line + data)
        found = self._explicitly(b"\n".join([*ended, self._line]))
        if not self._explicit:
            found = self._in_lines(ended)
        self._line = self._line[-_LONGEST_LINE:]
        return found

    def _explicitly(self, data: bytes) -> Progress | None:
        found = None
        for state, percent in _EXPLICIT.findall(data):
            self._explicit = True
            if state in b"124" and percent:
                found = (min(float(percent), 100.0), 100.0)
        return found

    def _in_lines(self, ended: list[bytes]) -> Progress | None:
        found = progress_in(self._line, ended=False)
        for line in reversed(ended):
            found = found or progress_in(line)
        return found


def progress_in(line: bytes, *, ended: bool = True) -> Progress | None:
    """
    Return the progress that a line shows, or `None`; "3/10" tells more than "30%".

    Args:
        ended: whether all of the line is there: a number at its end may go on otherwise.
    """
    line = _ESCAPES.sub(b"", line[-_LONGEST_LINE:])
    for found in reversed(list(_FRACTION.finditer(line))):
        current, total = float(found[1]), float(found[2])
        if current <= total and total > 0 and (ended or found.end() < len(line)):
            return current, total
    percents = [float(text) for text in _PERCENT.findall(line)]
    return next(((p, 100.0) for p in reversed(percents) if p <= 100), None)
