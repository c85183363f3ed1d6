"""
A forked child whose end is awaited, and whose traceback is shown.
"""

from __future__ import annotations

import faulthandler
import os
import selectors
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .patience import PATIENCE


@contextmanager
def forked(function: Callable[[], object], fork: Callable[[], int] = os.fork) -> Iterator[None]:
    """
    Run *function* in a child, beside the block.

    Fail after the block with the child's traceback if it raises, with its stacks if it hangs, and with
    its status if it crashes.
    """
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        _run(function, writing)
    os.close(writing)
    try:
        yield
        trouble = _heard(reading, PATIENCE)
        if trouble is None:
            os.kill(child, signal.SIGUSR1)
            trouble = f"it hangs:\n{_heard(reading, 2.0) or 'and does not say where'}"
            os.kill(child, signal.SIGKILL)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert (trouble, status) == ("", 0), f"the forked child ended with {status}: {trouble}"


def _heard(descriptor: int, seconds: float) -> str | None:
    # Not `select.select`: a long run may have more descriptors than that takes.
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        if not selector.select(seconds):
            return None
    return os.read(descriptor, 100_000).decode(errors="replace")


def _run(function: Callable[[], object], writing: int) -> None:
    try:
        faulthandler.register(signal.SIGUSR1, os.fdopen(os.dup(writing), "wb"), all_threads=True)
        function()
    except BaseException:  # noqa: BLE001 - told to the parent
        os.write(writing, traceback.format_exc().encode())
    finally:
        os._exit(0)
