"""
The tasks that a worker runs now, for queues that work in an event loop.
"""

from __future__ import annotations

from typing import Any, Unpack

from coatcheck import Fields, aio

from .runs import told, unheard


class Runs:
    """The same as `coatcheck_queues.runs.Runs`, for asyncio."""

    def __init__(
        self, results: aio.Results | str | None, heartbeat: float | None, options: dict[str, Any]
    ) -> None:
        self.results: aio.Results = (
            results if isinstance(results, aio.Results) else aio.by_url(results, **options)
        )
        self._heartbeat = heartbeat
        self._running: dict[str, aio.RunningTask] = {}

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._running

    async def begin(self, task_id: str, **fields: Unpack[Fields]) -> None:
        """See `coatcheck_queues.runs.Runs.begin`."""
        task = self.results.running(task_id, heartbeat=self._heartbeat, **fields)
        try:
            await task.__aenter__()
        except Exception as error:  # noqa: BLE001 - whatever it is, the task must run
            told(task_id, error)
        else:
            self._running[task_id] = task

    def of(self, task_id: str) -> aio.RunningTask:
        """Return the task that runs here, or one to store for it."""
        return self._running.get(task_id) or self.results.running(task_id, date_started=None)

    async def end(
        self,
        task_id: str,
        value: Any = None,
        error: BaseException | None = None,
        *,
        again: bool = False,
        **extra: Any,
    ) -> None:
        """See `coatcheck_queues.runs.Runs.end`."""
        task = self.of(task_id)
        self._running.pop(task_id, None)
        task.result = value
        if extra:
            task.note(**extra)
        if again:
            task.retry()
        try:
            await task.__aexit__(None if error is None else type(error), error, None)
            unheard(task, error)
        except Exception as failed:  # noqa: BLE001 - the value is at fault, or the store
            told(task_id, failed)
