"""
Room on the stack: a reader may be deep in its own calls when it decodes a deeply nested value.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def with_room(function: Callable[[Any], T], argument: Any) -> T:
    """Call *function* with *argument*, in a new thread if this thread's stack has no room."""
    try:
        return function(argument)
    except RecursionError as error:
        return in_thread(function, argument, error)


def in_thread(function: Callable[[Any], T], argument: Any, error: RecursionError) -> T:
    """
    Call *function* in a new thread, whose stack is empty. Raises *error* if no thread can start.
    """
    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(function(argument))
        except BaseException as failed:  # noqa: BLE001 - raised where it was called for
            raised.append(failed)

    thread = threading.Thread(target=run, name="coatcheck-decoding", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the process may have no more threads
        raise error from None
    thread.join()
    if raised:
        raise raised[0]
    return returned[0]
