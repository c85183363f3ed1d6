"""
A process whose limit of threads is reached.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from unittest import mock


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("can't start new thread")


@contextmanager
def without_threads() -> Iterator[None]:
    """Make every start of a thread fail as the system makes it fail."""
    # The function that `Thread.start` uses on this Python.
    names = [n for n in ("_start_new_thread", "_start_joinable_thread") if hasattr(threading, n)]
    refused = [mock.patch.object(threading, name, _refuse) for name in names]
    refused.append(mock.patch.object(_thread, "start_new_thread", _refuse))
    for patch in refused:
        patch.start()
    try:
        yield
    finally:
        for patch in refused:
            patch.stop()
