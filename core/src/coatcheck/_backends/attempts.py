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

    def __init__(self, operation_timeout: float, start: float | None = None) -> None:
        now = monotonic() if start is None else start
        self._deadline = now + operation_timeout
        self._until = now + operation_timeout / 2
        self._end = now + operation_timeout * _FIRST_TRY
        self._pause = 0.0

    @property
    def left(self) -> float:
        """
        The seconds left for this try.
        """
        return self._end - monotonic()

    @property
    def may_try(self) -> bool:
        """
        Whether there is time for another try.
        """
        return monotonic() < self._until

    def next_pause(self) -> float | None:
        """
        Return the pause before the next try, in seconds; `None` if there is to be none.
        """
        if monotonic() + self._pause >= self._until:
            return None
        self._end = self._deadline
        pause = self._pause
        # The first repeat comes at once: most often a connection was closed while it was idle.
        self._pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        return jittered(pause)
