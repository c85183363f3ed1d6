"""
An answer that the thread of a line gives to a waiting thread or task.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Outcome(Generic[T]):
    """
    A value or an error that is yet to come.

    A future of the standard library does not serve: its condition is written in Python, so an exception that a
    signal handler raises in a waiting thread can leave it locked. The line's thread would then hang.
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
        """Whether the answer has come."""
        return bool(self._value) or self._error is not None

    def succeed(self, value: T) -> None:
        """Give the value. Only the first call counts, and none after `cancel`."""
        with self._lock:
            if not (self.is_done or self.is_cancelled):
                self._value.append(value)
        self._tell()

    def fail(self, error: BaseException) -> None:
        """Give the error. Only the first call counts, and none after `cancel`."""
        with self._lock:
            if not (self.is_done or self.is_cancelled):
                self._error = error
        self._tell()

    def _tell(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            call()

    def cancel(self) -> bool:
        """Note that nobody waits any more; `False` if the answer has come."""
        with self._lock:
            if self.is_done:
                return False
            self.is_cancelled = True
            return True

    def when_done(self, call: Callable[[], object]) -> None:
        """Call *call* once the answer has come, in any thread; now if it has."""
        with self._lock:
            if not self.is_done:
                self._calls.append(call)
                return
        call()

    def result(self) -> T:
        """Return the value or raise the error."""
        if self._error is not None:
            raise self._error
        return self._value[0]
