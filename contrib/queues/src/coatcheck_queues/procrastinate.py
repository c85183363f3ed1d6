"""
Procrastinate: a middleware of its worker, and `expect` as jobs are deferred.

    results = attach(app, "postgresql://localhost/app")
    handle = await results.defer_async(add, a=2, b=3)
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import Any

from procrastinate import App, JobContext
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason
from procrastinate.jobs import JobDeferrer
from procrastinate.middleware import AsyncCallNext
from procrastinate.tasks import Task
from procrastinate.worker import Worker

import coatcheck
from coatcheck import AsyncResult, ConfigurationError, Results, aio

from .asyncio_runs import Runs
from .runs import HEARTBEAT, Aborted

#: A task, or a task as configured for one job.
Deferrable = Task[..., Any, Any] | JobDeferrer


class JobResults:
    """
    Stores the outcomes of jobs, and hands out their handles.

    Args:
        results: a URL, or the `coatcheck.aio.Results` to store with; by default `COATCHECK_URL`.
        heartbeat: the seconds between two signs of life of a running job; `None` gives none.
        prefix: stands before the number of a job in its task id, since other queues count from 1, too.
        options: those of `coatcheck.aio.by_url`, such as `expires`.
    """

    def __init__(
        self,
        results: aio.Results | str | None = None,
        *,
        heartbeat: float | None = HEARTBEAT,
        prefix: str = "procrastinate-",
        **options: Any,
    ) -> None:
        self._runs = Runs(results, heartbeat, options)
        self.results: aio.Results = self._runs.results
        self._given = results, options
        self._prefix = prefix

    def task_id(self, job_id: int) -> str:
        """Return the task id of a job."""
        return f"{self._prefix}{job_id}"

    def of(self, job_id: int) -> aio.AsyncResult[Any]:
        """Return the handle on a job. Without the prefix, a job's number would be the id in other queues."""
        return self.results.AsyncResult(self.task_id(job_id))

    @cached_property
    def sync(self) -> Results:
        """The same results for synchronous code. Raises `ConfigurationError` unless made from a URL."""
        given, options = self._given
        if isinstance(given, aio.Results):
            raise ConfigurationError("give JobResults the URL, from which both sides can be made")
        return coatcheck.by_url(given, **options)

    def defer(self, task: Deferrable, **arguments: Any) -> AsyncResult[Any]:
        """Defer a job, record it as PENDING, and return its handle for synchronous code."""
        task_id = self.task_id(task.defer(**arguments))
        self.sync.expect(task_id)
        return self.sync.AsyncResult(task_id)

    async def defer_async(self, task: Deferrable, **arguments: Any) -> aio.AsyncResult[Any]:
        """Defer a job, record it as PENDING, and return its handle."""
        job_id = await task.defer_async(**arguments)
        await self.results.expect(self.task_id(job_id))
        return self.of(job_id)

    async def middleware(
        self, call_next: AsyncCallNext, context: JobContext, worker: Worker
    ) -> Any:
        """Run a job as a task. For `worker_middleware`."""
        job = context.job
        assert job.id is not None  # noqa: S101 - it was deferred
        task_id = self.task_id(job.id)
        await self._runs.begin(
            task_id, name=job.task_name, queue=job.queue, retries=job.attempts or None
        )
        try:
            value = await call_next()
        except BaseException as error:
            again = _is_tried_again(context, error)
            aborted = isinstance(error, JobAborted | asyncio.CancelledError)
            reason = Aborted("aborted") if aborted else error
            await self._runs.end(task_id, error=reason, again=again)
            raise
        await self._runs.end(task_id, value)
        return value


def attach(app: App, results: aio.Results | str | None = None, **options: Any) -> JobResults:
    """Have the workers of *app* store results, and return the `JobResults`, which has the same *options*."""
    made = JobResults(results, **options)
    before = app.worker_defaults.get("worker_middleware", [])
    app.worker_defaults["worker_middleware"] = [*before, made.middleware]
    return made


def _is_tried_again(context: JobContext, error: BaseException) -> bool:
    """Decide as the worker does, after its middlewares."""
    shutdown = context.abort_reason() == AbortReason.SHUTDOWN
    if isinstance(error, JobAborted) and not shutdown:
        return False
    return context.task.get_retry_exception(exception=error, job=context.job) is not None
