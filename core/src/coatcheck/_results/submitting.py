"""
Functions as tasks in an executor of `concurrent.futures`, for synchronous code; and the common parts.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from .._record.failures import Failure
from .._runtime.interruptions import pass_on_interruption
from ..errors import WorkerLostError
from . import handles
from .claiming import DEFAULT_HEARTBEAT
from .marks import Marks

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from .results import Results

P = ParamSpec("P")
T = TypeVar("T")

_logger = logging.getLogger("coatcheck")


class Call(Generic[T]):
    """A function with its arguments, as a task yet to be run."""

    def __init__(self, function: Callable[..., T], args: Any, kwargs: Any) -> None:
        self.task_id = str(uuid.uuid4())
        self.name: str = getattr(function, "__qualname__", type(function).__qualname__)
        self.run: Callable[[], T] = partial(function, *args, **kwargs)

    def not_stored(self, error: BaseException) -> None:
        """Log that the outcome is lost: nobody waits for the function but by the store."""
        pass_on_interruption(error)
        _logger.error("the outcome of task %r was not stored: %s", self.task_id, error)


class Background(Generic[P, T]):
    """What `Results.task` makes of a function. A call runs it as before."""

    def __init__(self, function: Callable[P, T]) -> None:
        self.function = function
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.function(*args, **kwargs)

    def __reduce__(self) -> str:
        # By name, as functions are pickled: a pool of processes finds it in its module.
        name: str = self.function.__qualname__
        return name


class SyncBackground(Background[P, T]):
    """The decorated function for synchronous code."""

    def __init__(
        self,
        results: Submitting,
        executor: Executor,
        function: Callable[P, T],
        heartbeat: float | None,
    ) -> None:
        super().__init__(function)
        self._results = results
        self._executor = executor
        self._heartbeat = heartbeat

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> handles.AsyncResult[T]:
        """Run the function as a task in the executor, and return the task's handle."""
        return self._results._submit(self._executor, Call(self, args, kwargs), self._heartbeat)  # noqa: SLF001


class Submitting(Marks):
    """The methods of `Results` that run functions in executors."""

    def submit(
        self, executor: Executor, function: Callable[..., T], *args: Any, **kwargs: Any
    ) -> handles.AsyncResult[T]:
        """
        Run ``function(*args, **kwargs)`` as a task in *executor*, and return the task's handle.

        The task has a random id and the function's name. In a pool of threads it gives signs of life while it
        runs. In a pool of processes it is PENDING until it ends, and its outcome is stored by this process,
        also if the pool loses a process.
        """
        return self._submit(executor, Call(function, args, kwargs), DEFAULT_HEARTBEAT)

    def task(
        self, executor: Executor, *, heartbeat: float | None = DEFAULT_HEARTBEAT
    ) -> Callable[[Callable[P, T]], SyncBackground[P, T]]:
        """
        Decorate a function, so that ``function.submit(*args)`` runs it as a task in *executor*.

        *heartbeat* is the seconds between two signs of life in a pool of threads, or `None`.
        """
        return lambda function: SyncBackground(self, executor, function, heartbeat)

    def _submit(
        self, executor: Executor, call: Call[T], heartbeat: float | None
    ) -> handles.AsyncResult[T]:
        results = cast("Results", self)
        self.expect(call.task_id)
        try:
            if leaves_process(executor):
                executor.submit(call.run).add_done_callback(partial(_ended, results, call))
            else:
                future = executor.submit(_run, results, call, heartbeat)
                future.add_done_callback(partial(_cancelled, results, call))
        except BaseException:
            self.forget(call.task_id)
            raise
        return results.AsyncResult(call.task_id)


def leaves_process(executor: Executor) -> bool:
    """Whether calls are pickled. By name, since importing the classes would import multiprocessing."""
    names = {cls.__name__ for cls in type(executor).__mro__}
    return "ThreadPoolExecutor" not in names or "InterpreterPoolExecutor" in names


def lost_by(error: BaseException) -> WorkerLostError | None:
    """Return the error for a pool that lost a process; `None` for any other."""
    if all(cls.__name__ != "BrokenExecutor" for cls in type(error).__mro__):
        return None
    return WorkerLostError(Failure.worker_lost(f"a process of the pool was lost: {error}"))


def _run(results: Results, call: Call[Any], heartbeat: float | None) -> None:
    task = results.running(call.task_id, heartbeat=heartbeat, name=call.name)
    try:
        with task:
            task.result = call.run()
    except Exception as error:  # noqa: BLE001 - the function's, which is stored
        if task.won is None:
            call.not_stored(error)


def _cancelled(results: Results, call: Call[Any], future: Future[Any]) -> None:
    if future.cancelled():
        _store(call, partial(results.mark_as_revoked, call.task_id, "cancelled", name=call.name))


def _ended(results: Results, call: Call[Any], future: Future[Any]) -> None:
    """Store the outcome of a call in another process."""
    if future.cancelled():
        _cancelled(results, call, future)
    elif (error := future.exception()) is not None:
        reason = lost_by(error) or error
        _store(call, partial(results.mark_as_failure, call.task_id, reason, name=call.name))
    else:
        _store(call, partial(results.mark_as_done, call.task_id, future.result(), name=call.name))


def _store(call: Call[Any], store: Callable[[], bool]) -> None:
    try:
        store()
    except Exception as error:  # noqa: BLE001 - the store's, or the value's
        call.not_stored(error)
