"""
The tasks that the hub's subscription covers, and those that it has yet to cover. No I/O.
"""

from __future__ import annotations

from collections import deque


class Subscribed:
    """The tasks of one subscription. Not thread-safe: its owner guards it."""

    def __init__(self) -> None:
        # Tasks without a subscription, and a queue of them. The queue keeps tasks that left.
        self._unwatched: set[str] = set()
        self._queue: deque[str] = deque()
        self._watched: set[str] = set()
        self._unneeded: set[str] = set()

    @property
    def incomplete(self) -> bool:
        """Whether a task has yet to be subscribed to."""
        return bool(self._unwatched)

    def covers(self, task_id: str, *, ask: bool) -> bool:
        """
        Return whether there is a subscription to *task_id*, and keep it. *ask* for one otherwise.
        """
        self._unneeded.discard(task_id)
        if task_id in self._watched:
            return True
        if ask and task_id not in self._unwatched:
            self._unwatched.add(task_id)
            self._queue.append(task_id)
        return False

    def release(self, task_id: str) -> None:
        """Note that nobody waits for *task_id* any longer."""
        self._unwatched.discard(task_id)
        if task_id in self._watched:
            self._unneeded.add(task_id)

    def take(self, limit: int) -> list[str]:
        """Return up to *limit* tasks to subscribe to, which then count as covered."""
        taken: list[str] = []
        # One half came last, the other half first: nobody waits for the end of a large wait.
        for most, pop in ((limit // 2, self._queue.pop), (limit, self._queue.popleft)):
            while self._queue and len(taken) < most:
                task_id = pop()
                if task_id in self._unwatched:
                    self._unwatched.remove(task_id)
                    taken.append(task_id)
        self._watched.update(taken)
        return taken

    def take_unneeded(self, least: int) -> list[str]:
        """Return the tasks with a needless subscription, if there are at least *least*."""
        if len(self._unneeded) < least:
            return []
        gone = list(self._unneeded)
        self._unneeded.clear()
        self._watched.difference_update(gone)
        return gone
