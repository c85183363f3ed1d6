"""
Starting threads completely or not at all, wherever a signal handler raises.
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

    Store a thread for others only after this returns: joining a thread that did not start fails. If a signal
    handler raises meanwhile, the new thread may still run.
    """
    try:
        undisturbed(thread.start)
    except (RuntimeError, MemoryError) as error:
        pass_on_interruption(error)
        raise ThreadStartError(thread.name, error) from error


def undisturbed(act: Callable[[], T]) -> T:
    """
    Call *act* where no signal handler can interrupt it and return its value: in another thread, because
    handlers run in the main thread only. If a handler raises meanwhile, *act* still runs to its end.

    Use it for calls that such an exception would break. `Thread.start` is one: it would leave a thread that
    waits forever for its own start.
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
