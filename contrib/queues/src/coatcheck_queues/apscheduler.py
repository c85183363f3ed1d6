"""
APScheduler 3: a listener of a scheduler's events.

    results = attach(scheduler, "redis://localhost:6379/1")
    results.AsyncResult(run_id("nightly", when)).get(timeout=10)
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from apscheduler.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_MISSED,
    EVENT_JOB_SUBMITTED,
    JobExecutionEvent,
    JobSubmissionEvent,
)
from apscheduler.schedulers.base import BaseScheduler

from coatcheck import Results

from .runs import HEARTBEAT, Aborted, Runs


def run_id(job_id: str, scheduled: datetime) -> str:
    """Return the task id of one run of a job: the job's id and the scheduled time."""
    return f"{job_id}@{scheduled.astimezone(UTC).isoformat()}"


class _Listener:
    """Stores in a thread of its own, one event at a time: schedulers call listeners in an event loop, too."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="coatcheck-apscheduler")
        #: Runs that ended before the scheduler told that it had submitted them.
        self._ended: set[str] = set()

    def __call__(self, event: JobSubmissionEvent | JobExecutionEvent) -> None:
        self._thread.submit(self._store, event)

    def _store(self, event: JobSubmissionEvent | JobExecutionEvent) -> None:
        if event.code == EVENT_JOB_SUBMITTED:
            for scheduled in event.scheduled_run_times:
                self._begin(run_id(event.job_id, scheduled), event.job_id)
        else:
            self._end(run_id(event.job_id, event.scheduled_run_time), event)

    def _begin(self, task_id: str, job_id: str) -> None:
        if task_id in self._ended:
            self._ended.remove(task_id)
        else:
            self._runs.begin(task_id, name=job_id)

    def _end(self, task_id: str, event: JobExecutionEvent) -> None:
        if task_id not in self._runs:
            self._ended.add(task_id)
            self._runs.begin(task_id, name=event.job_id)
        error = Aborted("missed") if event.code == EVENT_JOB_MISSED else event.exception
        self._runs.end(task_id, event.retval, error)


def attach(
    scheduler: BaseScheduler,
    results: Results | str | None = None,
    *,
    heartbeat: float | None = HEARTBEAT,
    **options: Any,
) -> Results:
    """
    Have *scheduler* store the outcome of each run under its `run_id`, and return the `coatcheck.Results`.

    Args:
        results: a URL, or the `coatcheck.Results` to store with; by default `COATCHECK_URL`.
        heartbeat: the seconds between two signs of life of a running job; `None` gives none.
        options: those of `coatcheck.by_url`, such as `expires`.
    """
    runs = Runs(results, heartbeat, options)
    events = EVENT_JOB_SUBMITTED | EVENT_JOB_EXECUTED | EVENT_JOB_ERROR | EVENT_JOB_MISSED
    scheduler.add_listener(_Listener(runs), events)
    return runs.results
