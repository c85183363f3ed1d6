"""
Lost workers of tasks that nobody waits for: how long to watch, and which tasks are lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .._record.meta import ResultMeta
from .._waiting.heartbeats import CHECK_PATIENCE, LOST_WITHIN, interval_of
from .._waiting.waiter import same
from ..errors import WorkerLostError


def is_claim(meta: ResultMeta) -> bool:
    """Whether the task of *meta* is one that `once` runs: if its worker is lost, the next caller takes it over."""
    return meta.document.get("once") is not None


class Watched:
    """Running tasks with heartbeats, until each is decided: it gives a sign of life, or its worker is lost."""

    def __init__(self, metas: Iterable[ResultMeta] = ()) -> None:
        #: The first heartbeat of each undecided task.
        self.beats: dict[str, Mapping[str, Any]] = {}
        #: The failures of the tasks whose worker is lost.
        self.lost: list[ResultMeta] = []
        self._longest = 0.0
        for meta in metas:
            self.add(meta)

    def add(self, meta: ResultMeta) -> None:
        """Watch the task of *meta*, if it is running and has a heartbeat."""
        beat = meta.heartbeat
        every = interval_of(beat)
        if not meta.ready and beat is not None and every is not None:
            self.beats[meta.task_id] = beat
            self._longest = max(self._longest, every)

    @property
    def timeout(self) -> float:
        """The seconds after which each task is decided, unless its record has gone."""
        return LOST_WITHIN * self._longest + CHECK_PATIENCE

    def take(self, meta: ResultMeta) -> bool:
        """Take in a later record of a task. Return whether all tasks are decided."""
        task_id = meta.task_id
        if meta.ready or not same(meta.heartbeat, self.beats.get(task_id)):
            self.beats.pop(task_id, None)
        if meta.failed and meta.error is None and isinstance(meta.result, WorkerLostError):
            self.lost.append(meta)
        return not self.beats
