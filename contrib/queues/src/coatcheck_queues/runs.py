"""
The tasks that a worker runs now, for queues that work in threads or processes.
"""

from __future__ import annotations

import logging
from typing import Any, Final, Unpack

import coatcheck
from coatcheck import DEFAULT, Default, Expires, Fields, Results, RunningTask, states
from coatcheck.plugin import Failure, pass_on_interruption

_logger = logging.getLogger("coatcheck")
#: Seconds between two signs of life of a running task.
HEARTBEAT: Final = 10.0


class Aborted(BaseException):
    """Stands for the end of a task that the queue broke off, or did not begin: its record is REVOKED."""


def told(task_id: str, error: BaseException) -> None:
    """Log that an outcome was not stored. The queue must go on, so nobody else hears of it."""
    pass_on_interruption(error)
    _logger.error("the outcome of task %r was not stored: %s", task_id, error)


def unheard(task: Any, error: BaseException | None) -> None:
    """Log that the failure of *task* was not stored. `running()` says so only in a note on the exception."""
    if task.won is None and error is not None:
        notes = getattr(error, "__notes__", ["the store was away"])
        _logger.error("the outcome of task %r was not stored: %s", task.task_id, notes[-1])


class Runs:
    """
    Begins and ends tasks by their ids. No error of the store reaches the queue.

    Args:
        results: where to store, or a URL for `coatcheck.by_url`; `None` reads `COATCHECK_URL`.
        heartbeat: the seconds between two signs of life, or `None`.
        options: those of `coatcheck.by_url`, if *results* is no `Results`.
    """

    def __init__(
        self, results: Results | str | None, heartbeat: float | None, options: dict[str, Any]
    ) -> None:
        self.results: Results = (
            results if isinstance(results, Results) else coatcheck.by_url(results, **options)
        )
        self._heartbeat = heartbeat
        self._running: dict[str, RunningTask] = {}

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._running

    def begin(
        self, task_id: str, *, expires: Expires | Default = DEFAULT, **fields: Unpack[Fields]
    ) -> None:
        """Record that the task has started, and give signs of life until it ends."""
        task = self.results.running(task_id, expires=expires, heartbeat=self._heartbeat, **fields)
        try:
            task.__enter__()
        except Exception as error:  # noqa: BLE001 - such as a thread that cannot be started
            told(task_id, error)
        else:
            self._running[task_id] = task

    def end(
        self,
        task_id: str,
        value: Any = None,
        error: BaseException | None = None,
        *,
        again: bool = False,
        expires: Expires | Default = DEFAULT,
        **extra: Any,
    ) -> None:
        """
        Record the outcome, or RETRY if the task will be tried *again*. *extra* goes into the record.

        *expires* counts for a task that did not begin here.
        """
        task = self._running.pop(task_id, None) or self.results.running(
            task_id, expires=expires, date_started=None
        )
        task.result = value
        if extra:
            task.note(**extra)
        if again:
            task.retry()
        try:
            task.__exit__(None if error is None else type(error), error, None)
            unheard(task, error)
        except Exception as failed:  # noqa: BLE001 - the value is at fault, or the store
            told(task_id, failed)

    def lost(self, task_id: str, message: str) -> None:
        """Record that the process of a task was killed, as its parent knows."""
        try:
            failure = Failure.worker_lost(message)
            self.results.store_result(task_id, failure, states.FAILURE)
        except Exception as failed:  # noqa: BLE001 - the store
            told(task_id, failed)
