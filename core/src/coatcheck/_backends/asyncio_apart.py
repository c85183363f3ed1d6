"""
Work that comes to its end although whoever asked for it was cancelled.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from .._runtime import tasks

T = TypeVar("T")

#: Where Python can, a task takes its first step at once, and not in the loop's next turn.
_EAGERLY: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


def _nothing(_: object) -> None:
    return None


class Apart:
    """
    Runs work in tasks of its own: for drivers that swallow a cancellation, or lose a connection by it.
    Belongs to one event loop. The work must bound its own time.

    Args:
        unwanted: called with a result that nobody waits for; may return a coroutine that disposes of it.
    """

    def __init__(
        self, unwanted: Callable[[Any], Coroutine[Any, Any, object] | None] = _nothing
    ) -> None:
        self._unwanted = unwanted
        self._left: set[asyncio.Task[Any]] = set()

    async def run(self, act: Callable[[], Coroutine[Any, Any, T]], *, stop: bool = False) -> T:
        """
        Return the result of *act*. A caller that is cancelled goes at once, and the work goes on; with
        *stop* it is cancelled as well.
        """
        # By a future that the task sets: to shield the task takes one more turn of the loop.
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = loop.create_future()
        task = asyncio.Task(_told(act, outcome), loop=loop, **_EAGERLY)
        try:
            result: T = await outcome
            return result
        except asyncio.CancelledError:
            self.leave(task)
            if stop:
                task.cancel()
            raise

    def leave(self, task: asyncio.Task[Any]) -> None:
        """Keep *task* until it ends, and dispose of its result."""
        self._keep(task, self._dispose)

    def _keep(self, task: asyncio.Task[Any], ended: Callable[[asyncio.Task[Any]], object]) -> None:
        if task.done():
            ended(task)
        else:
            self._left.add(task)
            task.add_done_callback(self._left.discard)
            task.add_done_callback(ended)

    def _dispose(self, task: asyncio.Task[Any]) -> None:
        if _went_well(task):
            rest = self._unwanted(task.result())
            if rest is not None:
                self._keep(tasks.start(rest), _went_well)

    async def wait(self, seconds: float) -> None:
        """Wait for the running work, at most *seconds*."""
        if self._left:
            await asyncio.wait(self._left, timeout=seconds)


def _went_well(task: asyncio.Task[Any]) -> bool:
    # Asking for the error keeps asyncio from reporting it.
    return not task.cancelled() and task.exception() is None


async def _told(
    act: Callable[[], Coroutine[Any, Any, T]], outcome: asyncio.Future[Any]
) -> T | None:
    """
    Return the result of *act*. Set it, or the exception, as the *outcome*, unless nobody waits.
    """
    try:
        result = await act()
    except asyncio.CancelledError:
        outcome.cancel()
        raise
    except Exception as error:
        if outcome.done():
            raise
        outcome.set_exception(error)
        return None
    if not outcome.done():
        outcome.set_result(result)
    return result
