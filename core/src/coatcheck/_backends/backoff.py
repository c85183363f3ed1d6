"""
When to connect again after a subscription or a connection was lost. No I/O.
"""

from __future__ import annotations

from .._runtime.clocks import monotonic


class Backoff:
    """
    Pauses between tries, each twice as long as the one before.

    Args:
        first: the first pause, in seconds.
        longest: the longest one.
        refused: the pause after a lasting refusal, such as a missing permission.
    """

    def __init__(self, first: float = 0.05, longest: float = 1.0, *, refused: float = 30.0) -> None:
        self._first = self._pause = first
        self._longest = longest
        self._refused = refused
        self._at = 0.0

    def failed(self, *, refused: bool = False) -> float:
        """Note that a try failed; return the seconds until the next one."""
        pause = self._refused if refused else self._pause
        self._at = monotonic() + pause
        self._pause = min(self._pause * 2, self._longest)
        return pause

    def worked(self) -> None:
        """Note that a try succeeded: the next pause is the first one again."""
        self._pause = self._first

    @property
    def left(self) -> float:
        """The seconds until the next try; 0 if it is due."""
        return max(self._at - monotonic(), 0.0)
