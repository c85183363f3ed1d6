"""
Coroutines as tasks of the loop, and functions as tasks in executors, see `coatcheck._results.submitting`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from .._runtime import tasks
from ..errors import ArgumentError
from . import asyncio_handles as handles
from .asyncio_marks import Marks
from .claiming import DEFAULT_HEARTBEAT
from .submitting import Background, Call, lost_by

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from .asyncio_results import Results

P = ParamSpec("P")
T = TypeVar("T")

#: The loop itself keeps tasks by weak references only.
_UNDER_WAY: Final[set[asyncio.Task[None]]] = set()


class AioBackground(Background[P, T]):
    """The decorated function for asyncio."""

    def __init__(
        self,
        results: Submitting,
        executor: Executor | None,
        function: Callable[P, T],
        heartbeat: float | None,
    ) -> None:
        super().__init__(function)
        self._results = results
        self._executor = executor
        self._heartbeat = heartbeat

    async def submit(self, *args: P.args, **kwargs: P.kwargs) -> handles.AsyncResult[Any]:
        """Run the function as a task, and return the task's handle."""
        call = Call(self.function if self._executor is None else self, args, kwargs)
        return await self._results._submit(self._executor, call, self._heartbeat)  # noqa: SLF001


class Submitting(Marks):
    """The methods of `Results` that run coroutines, and functions in executors."""

    async def submit(
        self, executor: Executor | None, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> handles.AsyncResult[Any]:
        """
        Run ``function(*args, **kwargs)`` as a task, and return the task's handle.

        Without an executor, *function* is a coroutine function, and runs in this loop as by
        `asyncio.create_task`. The loop gives signs of life and stores the outcome, also of an executor.
        """
        return await self._submit(executor, Call(function, args, kwargs), DEFAULT_HEARTBEAT)

    def task(
        self, executor: Executor | None = None, *, heartbeat: float | None = DEFAULT_HEARTBEAT
    ) -> Callable[[Callable[P, T]], AioBackground[P, T]]:
        """Decorate a function, so that ``await function.submit(*args)`` runs it as a task."""
        return lambda function: AioBackground(self, executor, function, heartbeat)

    async def _submit(
        self, executor: Executor | None, call: Call[Any], heartbeat: float | None
    ) -> handles.AsyncResult[Any]:
        function = cast("partial[Any]", call.run).func
        if executor is None and not inspect.iscoroutinefunction(function):
            hint = "give a coroutine function, or an executor"
            raise ArgumentError("a function without an executor", function, hint)
        results = cast("Results", self)
        await self.expect(call.task_id)
        begin = call.run
        if executor is not None:
            try:
                begin = partial(asyncio.wrap_future, executor.submit(call.run))
            except BaseException:
                await self.forget(call.task_id)
                raise
        running = tasks.start(_run(results, call, begin, heartbeat), name=call.name)
        _UNDER_WAY.add(running)
        running.add_done_callback(_UNDER_WAY.discard)
        return results.AsyncResult(call.task_id)


async def _run(
    results: Results, call: Call[Any], begin: Callable[[], Awaitable[Any]], heartbeat: float | None
) -> None:
    task = results.running(call.task_id, heartbeat=heartbeat, name=call.name)
    try:
        async with task:
            task.result = await _value(begin)
    except Exception as error:  # noqa: BLE001 - the function's, which is stored
        if task.won is None:
            call.not_stored(error)


async def _value(begin: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await begin()
    except Exception as error:
        lost = lost_by(error)
        if lost is None:
            raise
        raise lost from error
