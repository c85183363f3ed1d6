"""
Lost workers: workers whose heartbeat stands still.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .._record.meta import ResultMeta
from .pacing import Agenda
from .waiter import same

#: A worker is lost when its heartbeat stood still for this many intervals.
LOST_AFTER: Final = 3
#: A check ends within this many intervals: a worker may be spared for one.
LOST_WITHIN: Final = LOST_AFTER + 2
#: The seconds that a check of a worker also allows for a slow store.
CHECK_PATIENCE: Final = 10.0
#: Longer intervals, in seconds, mean that the record is damaged.
LONGEST_INTERVAL: Final = 1e9


class _Heartbeat:
    """
    The last heartbeat of a worker, the time of its first sight, and whether the worker was spared.
    """

    __slots__ = ("beat", "since", "spared")

    def __init__(self, beat: object, since: float) -> None:
        self.beat = beat
        self.since = since
        self.spared = False


class Heartbeats:
    """
    The heartbeats of all tasks that are waited for, by the clock of this process.

    Args:
        agenda: gets the look that may find a worker lost.
    """

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._seen: dict[str, _Heartbeat] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def forget(self, task_id: str) -> None:
        """Begin anew with *task_id*."""
        self._seen.pop(task_id, None)

    def is_lost(self, meta: ResultMeta, now: float, *, took: float, rings: bool) -> bool:
        """
        Return whether the worker of the unready record *meta* is lost. Plan the next look otherwise.

        Args:
            took: the seconds that the look took.
            rings: whether a new heartbeat rings.
        """
        task_id, beat = meta.task_id, meta.heartbeat
        every = interval_of(beat)
        if every is None:
            self._seen.pop(task_id, None)
            return False
        seen = self._seen.get(task_id)
        if seen is None or not same(beat, seen.beat):
            seen = self._seen[task_id] = _Heartbeat(beat, now)
            self._agenda.changed(task_id, now)
        elif took > every and not seen.spared:
            # The store may have been as slow for the worker, so the worker gets one more interval.
            seen.spared = True
            seen.since = max(seen.since, now - (LOST_AFTER - 1) * every)
        lost_at = seen.since + LOST_AFTER * every
        if now >= lost_at:
            return True
        # Without a ring, each interval needs a look. Otherwise the last heartbeat is seen too late.
        self._agenda.hasten(task_id, lost_at if rings else min(lost_at, now + every))
        return False


def interval_of(heartbeat: Mapping[str, Any] | None) -> float | None:
    """Return the seconds between two heartbeats, or `None` if no further one is expected."""
    every = heartbeat.get("every") if heartbeat else None
    # Bounded: an int of the record may be too large for a float.
    if not isinstance(every, (int, float)) or not 0 < every < LONGEST_INTERVAL:
        return None
    return float(every)
