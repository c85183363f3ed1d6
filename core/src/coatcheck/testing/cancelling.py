"""
Cancels a coroutine at each of its suspensions in turn.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from functools import partial
from typing import Any


class CancelAt:
    """
    Runs a coroutine in a task of its own, and cancels that task at the suspension *number*.

    Only suspensions of the coroutine itself count. Tasks that it starts run on.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], number: int) -> None:
        self._coroutine = coroutine
        self._number = number
        self._suspensions = 0
        #: The return value, or the exception.
        self.outcome: Any = None

    @property
    def reached(self) -> bool:
        """Whether the coroutine reached that suspension; if not, it ended by itself."""
        return self._suspensions >= self._number

    async def run(self) -> bool:
        """Run the coroutine to its end, and return `reached`."""
        task = asyncio.get_running_loop().create_task(self._in_task())
        (self.outcome,) = await asyncio.gather(task, return_exceptions=True)
        return self.reached

    async def _in_task(self) -> Any:
        return await self

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._coroutine.__await__()
        step: Callable[[], Any] = partial(next, inner)
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                return end.value
            self._suspensions += 1
            if self._suspensions == self._number:
                # From the loop, as anybody else would: the task is suspended by then.
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                sent = yield awaited
            except BaseException as error:  # noqa: BLE001 - passed on
                step = partial(inner.throw, error)
            else:
                step = partial(inner.send, sent)


async def everywhere(
    make: Callable[[int], Coroutine[Any, Any, Any]], *, at_most: int = 200
) -> AsyncIterator[tuple[int, Any]]:
    """
    Cancel a new coroutine of *make* at suspension 1, 2, 3, ... until one ends by itself.

    Yield the number and the outcome after each.
    """
    for number in itertools.takewhile(lambda n: n <= at_most, itertools.count(1)):
        run = CancelAt(make(number), number)
        if not await run.run():
            return
        yield number, run.outcome
