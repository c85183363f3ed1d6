"""
What a change stream tells, how far it got, and when it tells too much. No I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from coatcheck.errors import BackendError
from coatcheck.plugin import Backoff, monotonic

from .errors import has_no_streams, is_stale, mapped

#: How long the server holds an answer back while nothing happens, in milliseconds. After that the
#: reader sees whether it is to end, so that closing takes as long: the server does not let go of an
#: answer sooner, not even if its cursor is killed.
AWAIT_MS: Final = 200
#: Over how many seconds events are counted.
WINDOW: Final = 2.0
#: How late events may come, in seconds, of writes that are not acknowledged by a majority. They are
#: told when a majority has them; with nobody who waits for that it takes up to a journal's interval.
LAG: Final = 0.1


class TooManyEvents(Exception):  # noqa: N818 - it is a state of affairs
    """
    Others write so much that looking costs less.
    """


class Listener:
    """
    Who waits for what, and what rang. One thread or task feeds it, another one asks.
    """

    def __init__(self, *, limit: float, label: str) -> None:
        self._limit = limit
        self._label = label
        self.keys: set[str] = set()
        #: Those that rang. Sets are changed by single calls only: two threads share them.
        self.rang: set[str] = set()
        #: The place to go on from; `None` where there is none.
        self.token: Mapping[str, Any] | None = None
        self._foreign = 0
        self._since = monotonic()
        self._backoff = Backoff()

    def opened(self) -> None:
        """
        Take in that the stream is live.
        """
        self._backoff.worked()
        self._foreign, self._since = 0, monotonic()

    def heard(self, event: Mapping[str, Any]) -> bool:
        """
        Take in an event, and return whether it is of one that is waited for.
        """
        task_id = event.get("documentKey", {}).get("_id")
        if task_id in self.keys:
            self.rang.add(task_id)
            return True
        self._foreign += 1
        return False

    def check_rate(self) -> None:
        """
        Raise `TooManyEvents` where so many are of no use.
        """
        seconds = monotonic() - self._since
        if seconds < WINDOW:
            return
        foreign, self._foreign = self._foreign, 0
        self._since = monotonic()
        if foreign > self._limit * seconds:
            raise TooManyEvents(f"{foreign / seconds:.0f} events a second that nobody waits for")

    def ring_all(self) -> None:
        """
        Have all keys ring: nobody knows what happened to them.
        """
        self.rang |= self.keys

    def take(self) -> Collection[str]:
        """
        Return what rang, and forget it.
        """
        rang = set()
        while self.rang:
            rang.add(self.rang.pop())
        return rang

    def failed(self, error: Exception) -> tuple[BackendError, float]:
        """
        Take in that the stream ended; return why waits look by themselves, and until when, in
        seconds.
        """
        if isinstance(error, TooManyEvents):
            self.token = None
            reason = BackendError(f"{self._label}: looking instead of listening: {error}")
            return reason, self._backoff.failed(refused=True)
        if has_no_streams(error):
            self.token = None
            message = f"{self._label} has no change streams for us, so waits look: {error}"
            return BackendError(message), self._backoff.failed(refused=True)
        if is_stale(error):
            self.token = None
        return mapped(error, self._label, writing=False), self._backoff.failed()
