"""
A wake-up call for one sleeping thread.
"""

from __future__ import annotations

import threading


class Alarm:
    """
    Wakes the one thread that sleeps on it. It latches: a ring before the sleep ends the sleep.

    `threading.Event` does not serve: it is written in Python, so an exception that a signal handler
    raises inside of it can leave its lock locked for ever, and a handler that sets it can meet that
    lock. This is one lock, which C code takes and frees.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        # Free from a ring to the sleep that it ends, or keeps from beginning.
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """
        End the sleep that goes on, or else the next one. For any thread, and for signal handlers.
        """
        try:
            self._lock.release()
        except RuntimeError:
            return  # it is free: an earlier ring was not heard yet

    def sleep(self, seconds: float) -> bool:
        """Sleep until a ring, *seconds* at most; whether there was a ring."""
        return self._lock.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX))
