"""
The stacks of threads, for failures that report a hang.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from _pytest.outcomes import Failed

#: No timer of signals on some systems, and in threads other than the main one.
HAS_ALARM: Final = hasattr(signal, "SIGALRM")


class Hang(Failed):
    """Something did not end. No `except Exception` of a backend catches it."""


def stack_of(thread: threading.Thread) -> str:
    """Return the stack of *thread*, with its name."""
    frame = sys._current_frames().get(thread.ident or 0)
    lines = [] if frame is None else traceback.format_stack(frame)
    return f"thread {thread.name!r}:\n{''.join(lines) or '  it has ended'}"


def all_stacks() -> str:
    """Return the stacks of all threads of this process."""
    return "\n".join(map(stack_of, threading.enumerate()))


@contextmanager
def bounded(seconds: float, what: str) -> Iterator[None]:
    """
    Raise `Hang` with all stacks if a block of the main thread takes longer than *seconds*.

    It does so again and again, should the block swallow it. Blocks in other threads are not bounded, nor
    is one while somebody else uses the timer.
    """
    if not _is_free():
        yield
        return

    def strike(*_: object) -> None:
        raise Hang(f"{what} did not end within {seconds:g} s\n\n{all_stacks()}")

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGALRM) is strike:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _is_free() -> bool:
    in_main = threading.current_thread() is threading.main_thread()
    return HAS_ALARM and in_main and signal.getitimer(signal.ITIMER_REAL)[0] == 0
