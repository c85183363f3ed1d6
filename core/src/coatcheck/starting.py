"""
Threads that start whole, or not at all, wherever a signal handler raises.
"""

from __future__ import annotations

import _thread
import threading

from .bells import Alarm
from .errors import ThreadStartError
from .interruptions import pass_on_interruption


def start(thread: threading.Thread) -> None:
    """
    Start *thread*. Raises `ThreadStartError` where the system allows no more of them.

    Publish a thread only after that: one that was not started would be waited for in vain.

    Signal handlers run in the main thread alone, and an exception in the middle of `Thread.start` can
    leave a thread that waits for ever for its own beginning. So the main thread has another one start
    it. If a handler raises meanwhile, the new thread may run all the same.
    """
    try:
        _start(thread)
    except (RuntimeError, MemoryError) as error:
        pass_on_interruption(error)
        raise ThreadStartError(thread.name, error) from error


def _start(thread: threading.Thread) -> None:
    if threading.current_thread() is not threading.main_thread():
        thread.start()
        return
    begun = Alarm()
    errors: list[BaseException] = []

    def begin() -> None:
        try:
            thread.start()
        except BaseException as error:  # noqa: BLE001 - raised where the start was asked for
            errors.append(error)
        finally:
            begun.ring()

    _thread.start_new_thread(begin, ())
    begun.sleep(threading.TIMEOUT_MAX)
    if errors:
        raise errors[0]
