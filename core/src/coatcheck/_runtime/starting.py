"""
Threads that start whole, or not at all, wherever a signal handler raises.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from typing import TypeVar

from ..errors import ThreadStartError
from .alarm import Alarm
from .interruptions import pass_on_interruption

T = TypeVar("T")


def start(thread: threading.Thread) -> None:
    """
    Start *thread*. Raises `ThreadStartError` where the system allows no more of them.

    Publish a thread only after that: one that was not started would be waited for in vain. If a signal
    handler raises meanwhile, the new thread may run all the same.
    """
    try:
        undisturbed(thread.start)
    except (RuntimeError, MemoryError) as error:
        pass_on_interruption(error)
        raise ThreadStartError(thread.name, error) from error


def undisturbed(act: Callable[[], T]) -> T:
    """
    Return what *act* returns, done where no signal handler can come: in another thread, since those
    run in the main thread alone. If one raises meanwhile, *act* goes on all the same.

    For what such an exception would break, as it does `Thread.start`: that leaves a thread which waits
    for ever for its own beginning.
    """
    if threading.current_thread() is not threading.main_thread():
        return act()
    done = Alarm()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(act())
        except BaseException as error:  # noqa: BLE001 - raised where it was asked for
            errors.append(error)
        finally:
            done.ring()

    _thread.start_new_thread(run, ())
    done.sleep(threading.TIMEOUT_MAX)
    if errors:
        raise errors[0]
    return results[0]
