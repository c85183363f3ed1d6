"""
Noticing lost workers without waiting for their tasks, for synchronous code.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from .._record.documents import checked_id
from .._record.meta import ResultMeta
from .._waiting.hub import Hub, ThreadWaiter
from ..errors import WaitTimeoutError
from .listing import Lists
from .losses import Watched, is_claim


class Notices(Lists):
    """The methods of `Results` that look for lost workers."""

    _hub: Hub

    def check_alive(self, task_id: str) -> bool | None:
        """
        Find out whether the worker of a running task is alive, if nobody waits for the task.

        Reads never notice that a worker was lost: they say STARTED for as long as the record lives.
        This call waits for the next sign of life. If none comes for three intervals of the task's
        heartbeat, it records FAILURE with `WorkerLostError`, as a wait does.

        Returns:
            `True` after a sign of life, or any other change; `False` if the task is over, or is now
            that its worker was found lost; `None` if nobody can tell: nothing is stored, or the
            task runs without a heartbeat.
        """
        meta = self.get_task_meta(task_id)
        watched = Watched([meta])
        if not watched.beats:
            return False if meta.ready else None
        waiter = ThreadWaiter([task_id], watched.timeout, beats=True, hint=self._hint)
        with closing(self._hub.results(waiter)) as changes:
            return next(not changed.ready for changed in changes if watched.take(changed))

    def reap(self, task_ids: Iterable[str] | None = None) -> list[ResultMeta]:
        """
        Find the tasks whose worker was lost, although nobody waits for them, and record FAILURE with
        `WorkerLostError` for each.

        Watches the running tasks that have a heartbeat, for three to five of the longest interval. Leaves
        the work of `once` to its next caller. Read-only results record nothing.

        Args:
            task_ids: the tasks to look at; by default all that are stored, which needs the capability SCAN.

        Returns:
            The failures of the lost tasks.
        """
        stored = self.scan() if task_ids is None else self._snapshots(map(checked_id, task_ids))
        watched = Watched(meta for meta in stored if not is_claim(meta))
        if watched.beats:
            waiter = ThreadWaiter(watched.beats, watched.timeout, beats=True, hint=self._hint)
            try:
                with closing(self._hub.results(waiter)) as changes:
                    next((meta for meta in changes if watched.take(meta)), None)
            except WaitTimeoutError as error:
                if error.last_error is not None:
                    raise  # without an error of the store, records have gone
        return watched.lost
