"""
What the thread of a line has to tell whoever waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Outcome(Generic[T]):
    """
    A value or an error that is yet to come.

    A future of the standard library does not serve: it is guarded by a condition, which is written in
    Python, so an exception that a signal handler raises in one who waits can leave it locked. The line's
    thread would wait for it for ever, and with it everybody else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Callable[[], object]] = []
        self._value: list[T] = []
        self._error: BaseException | None = None
        #: Whether nobody waits any more.
        self.is_cancelled = False

    @property
    def is_done(self) -> bool:
        """
        Whether it has come.
        """
        return bool(self._value) or self._error is not None

    def succeed(self, value: T) -> None:
        """
        Give the value. Only the first call counts, and none after `cancel`.
        """
        with self._lock:
            if not (self.is_done or self.is_cancelled):
                self._value.append(value)
        self._tell()

    def fail(self, error: BaseException) -> None:
        """
        Give the error, likewise.
        """
        with self._lock:
            if not (self.is_done or self.is_cancelled):
                self._error = error
        self._tell()

    def _tell(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            call()

    def cancel(self) -> bool:
        """
        Say that nobody waits any more; `False` if it has come.
        """
        with self._lock:
            if self.is_done:
                return False
            self.is_cancelled = True
            return True

    def when_done(self, call: Callable[[], object]) -> None:
        """
        Have *call* called once it has come, in any thread; at once if it has.
        """
        with self._lock:
            if not self.is_done:
                self._calls.append(call)
                return
        call()

    def result(self) -> T:
        """
        Return the value that has come, or raise the error.
        """
        if self._error is not None:
            raise self._error
        return self._value[0]
