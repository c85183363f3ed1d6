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
    The schedule of an operation that may be repeated.

    The first try gets 45 % of the time, because an idle connection may lead nowhere without an error. Further
    tries begin in the first half of the time. Each of them may last until the end of the operation.

    Args:
        operation_timeout: seconds for all tries together.
        start: when the operation began, on the clock `monotonic`; by default now.
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
        """The seconds left for this try; negative when they are over."""
        return self._start + self._seconds * self._part - monotonic()

    @property
    def may_try(self) -> bool:
        """Whether there is time for another try."""
        return self._seconds_to_repeat > 0

    def next_pause(self) -> float | None:
        """
        Return the seconds to pause before the next try, or `None` if it is too late for one.

        The first pause is 0. Later ones double from 10 ms up to 250 ms, with a little jitter.
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
