"""
Taskiq: a result backend, and a middleware that tells of running tasks.

    broker = CoatcheckBackend("redis://localhost:6379/1").attach(ListQueueBroker("redis://localhost"))
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from taskiq import (
    AsyncBroker,
    AsyncResultBackend,
    AsyncTaskiqTask,
    TaskiqMessage,
    TaskiqMiddleware,
    TaskiqResult,
)
from taskiq.depends.progress_tracker import TaskProgress
from taskiq.exceptions import NoResultError, ResultGetError

from coatcheck import ResultMeta, aio, states

from .asyncio_runs import Runs
from .runs import HEARTBEAT

T = TypeVar("T")
B = TypeVar("B", bound=AsyncBroker)


class CoatcheckBackend(AsyncResultBackend[Any]):
    """
    Keeps Taskiq's results in coatcheck's records, which any other process reads and awaits.

    Args:
        results: a URL, or the `coatcheck.aio.Results` to store with; by default `COATCHECK_URL`.
        heartbeat: the seconds between two signs of life of a running task; `None` gives none.
        expect: record each task as PENDING when it is sent, for one more round trip.
        options: those of `coatcheck.aio.by_url`, such as `expires`.
    """

    def __init__(
        self,
        results: aio.Results | str | None = None,
        *,
        heartbeat: float | None = HEARTBEAT,
        expect: bool = False,
        **options: Any,
    ) -> None:
        self._runs = Runs(results, heartbeat, options)
        self.results: aio.Results = self._runs.results
        self.middleware = Middleware(self._runs, expect=expect)

    def attach(self, broker: B) -> B:
        """Make this the result backend of *broker*, with the middleware, and return the broker."""
        return broker.with_result_backend(self).with_middlewares(self.middleware)

    def of(self, task: AsyncTaskiqTask[T] | str) -> aio.AsyncResult[T]:
        """Return coatcheck's handle on a task: to await it, which is woken and does not poll."""
        return self.results.AsyncResult(task if isinstance(task, str) else task.task_id)

    async def shutdown(self) -> None:
        """Close the connections."""
        await self.results.close()

    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """Store the outcome, with labels, log and execution time."""
        attempt = _attempt(task_id)
        if attempt is not None and attempt.sent_again:
            return  # by a middleware that has a result stored for each attempt
        await self._runs.end(
            task_id,
            result.return_value,
            result.error,
            labels=result.labels,
            log=result.log,
            execution_time=result.execution_time,
        )

    async def is_result_ready(self, task_id: str) -> bool:
        """Return whether the task is over."""
        return (await self.results.get_task_meta(task_id)).ready

    async def get_result(self, task_id: str, with_logs: bool = False) -> TaskiqResult[Any]:  # noqa: FBT001, FBT002 - Taskiq's signature
        """Return the outcome in Taskiq's form. Raises `ResultGetError` before the task is over."""
        meta = await self.results.get_task_meta(task_id)
        if not meta.ready:
            raise ResultGetError
        failed = meta.status in states.EXCEPTION_STATES
        extra = _extra(meta)
        return TaskiqResult(
            is_err=failed,
            return_value=None if failed else meta.result,
            error=meta.result if failed else None,
            execution_time=extra.get("execution_time") or 0.0,
            log=extra.get("log") if with_logs else None,
            labels=extra.get("labels") or {},
        )

    async def set_progress(self, task_id: str, progress: TaskProgress[Any]) -> None:
        """Store PROGRESS, with Taskiq's metadata as its info."""
        task = self._runs.of(task_id)
        task.note(progress=[str(getattr(progress.state, "value", progress.state)), progress.meta])
        await task.update_state(states.PROGRESS, progress.meta)

    async def get_progress(self, task_id: str) -> TaskProgress[Any] | None:
        """Return the last progress, also of a task that is over."""
        found = _extra(await self.results.get_task_meta(task_id)).get("progress")
        return TaskProgress(state=found[0], meta=found[1]) if found else None


@dataclass
class _Attempt:
    """One attempt at a task, known to all that Taskiq calls for it: it works off each in an asyncio task of its own."""

    task_id: str
    error: BaseException | None = None
    sent_again: bool = False


_ATTEMPT: ContextVar[_Attempt | None] = ContextVar("coatcheck_queues_attempt", default=None)


def _attempt(task_id: str) -> _Attempt | None:
    found = _ATTEMPT.get()
    return found if found is not None and found.task_id == task_id else None


class Middleware(TaskiqMiddleware):
    """Records that tasks start, and that they will be tried again."""

    def __init__(self, runs: Runs, *, expect: bool) -> None:
        super().__init__()
        self._runs = runs
        self._expect = expect

    async def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        """Record PENDING; or RETRY, if the task runs here and has failed, before it can start elsewhere."""
        attempt = _attempt(message.task_id)
        if attempt is not None:
            attempt.sent_again = True
            error = attempt.error or NoResultError()
            await self._runs.end(message.task_id, error=error, again=True)
        elif self._expect:
            await self._runs.results.expect(message.task_id)
        return message

    async def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """Record STARTED."""
        _ATTEMPT.set(_Attempt(message.task_id))
        await self._runs.begin(
            message.task_id,
            name=message.task_name,
            retries=int(message.labels.get("_retries", 0)),
            extra={"labels": message.labels},
        )
        return message

    def on_error(self, message: TaskiqMessage, result: Any, exception: BaseException) -> None:
        """Keep the error: a middleware that sends the task again runs after this one."""
        attempt = _attempt(message.task_id)
        if attempt is not None:
            attempt.error = exception

    async def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        """Record RETRY for a task that sent itself again, which has no result."""
        attempt = _attempt(message.task_id)
        if isinstance(result.error, NoResultError) and not (attempt and attempt.sent_again):
            error = (attempt and attempt.error) or result.error
            await self._runs.end(message.task_id, error=error, again=True)


def _extra(meta: ResultMeta) -> dict[str, Any]:
    extra = meta.extra
    return extra if isinstance(extra, dict) else {}
