"""
Huey: hooks and signals of an instance.

    results = attach(huey, "redis://localhost:6379/1")
    results.AsyncResult(add(2, 3).id).get(timeout=10)
"""

from __future__ import annotations

import sys
from typing import Any

from huey import signals
from huey.api import Huey, PeriodicTask, Task
from huey.exceptions import CancelExecution

from coatcheck import Results

from .runs import HEARTBEAT, Aborted, Runs


class _Listener:
    """Follows the tasks of one instance. Runs of periodic tasks share an id, so they are left out."""

    def __init__(self, runs: Runs, *, expect: bool) -> None:
        self._runs = runs
        self._expect = expect

    def enqueued(self, signal: str, task: Task) -> None:
        if self._expect and not isinstance(task, PeriodicTask):
            self._runs.results.expect(task.id)

    def executing(self, signal: str, task: Task) -> None:
        if not isinstance(task, PeriodicTask):
            self._runs.begin(task.id, name=task.name)

    def dropped(self, signal: str, task: Task) -> None:
        """Record REVOKED: the task was revoked, is too late, or its worker stops."""
        if not isinstance(task, PeriodicTask):
            self._runs.end(task.id, error=Aborted(signal))

    def canceled(self, signal: str, task: Task) -> None:
        """Record REVOKED for a task that a hook cancels before it runs: no other hook follows."""
        if _in_hook(sys.exception()):
            self.dropped(signal, task)

    def executed(self, task: Task, value: Any, error: BaseException | None) -> None:
        """Record the outcome. Later tasks of a pipeline will not run after a failure, and have it, too."""
        if isinstance(task, PeriodicTask):
            return
        again = error is not None and bool(task.retries)
        reason = Aborted("canceled") if isinstance(error, CancelExecution) else error
        self._runs.end(task.id, value, reason, again=again)
        following = task.on_complete if error is not None and not again else None
        while following is not None:
            self._runs.end(following.id, error=reason)
            following = following.on_complete


def attach(
    huey: Huey,
    results: Results | str | None = None,
    *,
    heartbeat: float | None = HEARTBEAT,
    expect: bool = False,
    **options: Any,
) -> Results:
    """
    Have *huey* store the outcome of each task under its id, and return the `coatcheck.Results`.

    Args:
        huey: the instance, in its consumers and where tasks are sent.
        results: a URL, or the `coatcheck.Results` to store with; by default `COATCHECK_URL`.
        heartbeat: the seconds between two signs of life of a running task; `None` gives none.
        expect: record each task as PENDING when it is sent, for one more round trip.
        options: those of `coatcheck.by_url`, such as `expires`.
    """
    runs = Runs(results, heartbeat, options)
    listener = _Listener(runs, expect=expect)
    huey.signal(signals.SIGNAL_ENQUEUED)(listener.enqueued)
    huey.signal(signals.SIGNAL_EXECUTING)(listener.executing)
    huey.signal(signals.SIGNAL_REVOKED, signals.SIGNAL_EXPIRED, signals.SIGNAL_INTERRUPTED)(
        listener.dropped
    )
    huey.signal(signals.SIGNAL_CANCELED)(listener.canceled)
    huey.post_execute(name="coatcheck")(listener.executed)
    return runs.results


def _in_hook(error: BaseException | None) -> bool:
    """Return whether *error* came from a hook that runs before the task."""
    trace = error.__traceback__ if error is not None else None
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "_run_pre_execute":
            return True
        trace = trace.tb_next
    return False
