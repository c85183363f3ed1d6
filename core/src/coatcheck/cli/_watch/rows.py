"""
The tasks that `coatcheck watch` knows, and the parts of them that a view shows. No I/O.
"""

from __future__ import annotations

import heapq
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ... import states
from ..._runtime.clocks import wall

if TYPE_CHECKING:
    from ..._record.meta import ResultMeta

#: How many rows a view shows.
SHOWN: Final = 200
#: The seconds over which rates are counted.
WINDOW: Final = 60
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class Row(NamedTuple):
    """A task, with as much of its record as a view needs. Texts are as stored, and may do harm."""

    task_id: str
    state: str
    name: str
    worker: str
    started: datetime | None
    done: datetime | None
    summary: str

    @property
    def ready(self) -> bool:
        """Whether the task is over."""
        return self.state in states.READY_STATES

    @property
    def moment(self) -> datetime:
        """The time of the last change that the record tells."""
        return self.done or self.started or _EPOCH

    def took(self, now: datetime) -> float:
        """Return the seconds that the task ran, or has been running; 0 if nobody wrote its start."""
        return 0.0 if self.started is None else ((self.done or now) - self.started).total_seconds()


def row_of(meta: ResultMeta) -> Row:
    """Return the row of a record. No content makes it raise."""
    from ..render import state_of, summary

    text = "" if meta.successful else summary(meta)
    return Row(
        meta.task_id,
        state_of(meta),
        meta.name or "",
        meta.worker or "",
        meta.date_started,
        meta.date_done if meta.ready else None,
        text,
    )


def _now() -> datetime:
    return datetime.fromtimestamp(wall(), UTC)


#: The views, each with the rows that belong to it and the key of their order, the largest first.
VIEWS: Final[Mapping[str, tuple[Callable[[Row], bool], Callable[[Row, datetime], Any]]]] = {
    "running": (lambda row: not row.ready and row.state != "?", lambda row, _: row.moment),
    "failed": (lambda row: row.state == states.FAILURE, lambda row, _: row.moment),
    "slow": (lambda row: row.started is not None, lambda row, now: row.took(now)),
    "all": (lambda _: True, lambda row, _: row.moment),
}


class Rows:
    """All tasks by their ids. Threads share it."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        #: The times, of this machine, at which tasks that were running or new became ready.
        self._ended: deque[tuple[float, bool]] = deque(maxlen=1_000_000)
        #: Counts the changes.
        self.version: int = 0
        #: Whether all tasks were read once. Those that were ready before do not count for rates.
        self.complete: bool = False

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, metas: Iterable[ResultMeta]) -> None:
        """Note records as they are now."""
        for meta in metas:
            row = row_of(meta)
            with self._lock:
                before = self._rows.get(row.task_id)
                if before == row or (before is not None and before.ready and not row.ready):
                    continue
                self._rows[row.task_id] = row
                self._count(before, row)

    def _count(self, before: Row | None, row: Row) -> None:
        if before is not None:
            self.counts[before.state] -= 1
        self.counts[row.state] += 1
        self.version += 1
        if row.ready and (before is not None or self.complete) and not (before and before.ready):
            self._ended.append((wall(), row.state == states.SUCCESS))

    def keep(self, ids: Collection[str]) -> None:
        """Drop the tasks that are not among *ids*: their records have gone."""
        with self._lock:
            for task_id in self._rows.keys() - ids:
                self.counts[self._rows.pop(task_id).state] -= 1
                self.version += 1

    def wanted(self, task_id: str) -> bool:
        """Whether the record has to be read: it is new, or may change."""
        row = self._rows.get(task_id)
        return row is None or not row.ready

    def running(self, most: int, *, but: Collection[str] = ()) -> list[str]:
        """Return the ids of up to *most* tasks that are not over, the latest first, less those in *but*."""
        return [id_ for row in self.view("running", most=most) if (id_ := row.task_id) not in but]

    def view(self, name: str, text: str = "", *, most: int = SHOWN) -> list[Row]:
        """Return the first rows of a view: those with *text* in id, name, worker, state or result."""
        belongs, key = VIEWS[name]
        now, text = _now(), text.casefold()
        with self._lock:
            rows = list(self._rows.values())
        found = (row for row in rows if belongs(row) and (not text or _has(row, text)))
        return heapq.nlargest(most, found, key=lambda row: key(row, now))

    def rates(self) -> tuple[float, float]:
        """Return how many tasks succeeded and how many did not, in the last minute."""
        limit = wall() - WINDOW
        while self._ended and self._ended[0][0] < limit:
            self._ended.popleft()
        ended = list(self._ended)
        good = sum(successful for _, successful in ended)
        return good, len(ended) - good


def _has(row: Row, text: str) -> bool:
    return any(
        text in part.casefold()
        for part in (row.task_id, row.name, row.worker, row.state, row.summary)
    )
