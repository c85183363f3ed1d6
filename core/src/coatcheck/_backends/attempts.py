"""
How an operation on a store is repeated within its time. No I/O.
"""

from __future__ import annotations

from typing import Final

from .._runtime.clocks import monotonic
from .._runtime.dice import jittered

_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.25
#: What part of the time the first try may take.
_FIRST_TRY: Final = 0.45


class Attempts:
    """
    How often and how soon an operation may be repeated: while half of its time is left, so that
    a last try, which may take the other half, ends in time. The first try ends before that half,
    too: a connection that was idle may lead nowhere without anybody having said so.
    """

    __slots__ = ("_part", "_pause", "_seconds", "_start")

    def __init__(self, operation_timeout: float, start: float | None = None) -> None:
        # Most operations need one try, so all else is computed where it is asked for.
        self._start = monotonic() if start is None else start
        self._seconds = operation_timeout
        self._part = _FIRST_TRY
        self._pause = 0.0

    @property
    def left(self) -> float:
        """
        The seconds left for this try.
        """
        return self._start + self._seconds * self._part - monotonic()

    @property
    def may_try(self) -> bool:
        """
        Whether there is time for another try.
        """
        return self._seconds_to_repeat > 0

    def next_pause(self) -> float | None:
        """
        Return the pause before the next try, in seconds; `None` if there is to be none.
        """
        if self._pause >= self._seconds_to_repeat:
            return None
        self._part = 1.0
        pause = self._pause
        # The first repeat comes at once: most often a connection was closed while it was idle.
        self._pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        return jittered(pause)

    @property
    def _seconds_to_repeat(self) -> float:
        return self._start + self._seconds / 2 - monotonic()
