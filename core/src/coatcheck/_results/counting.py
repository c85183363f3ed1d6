"""
Counts of records by state and age: of all, or of a sample where there are too many to read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from .._backends.backend import Tally
from .._record.meta import ResultMeta
from .._runtime.clocks import wall
from .._runtime.dice import random
from ..errors import ArgumentError

#: The classes of age, each with its limit in seconds. Records without any date are undated.
AGES: Final[Mapping[str, float]] = {
    "minute": 60.0, "hour": 3_600.0, "day": 86_400.0, "older": float("inf")
}  # fmt: skip
UNDATED: Final = "undated"
#: How many records are read by default.
SAMPLE: Final = 10_000


class Stats(NamedTuple):
    """
    The records of a store. The age of a record is the time since its task ended, or else began.

    If `read` is less than `total`, the counts are those of a random sample.
    """

    #: How many records are stored.
    total: int
    #: How many of them were read.
    read: int
    #: The numbers of those by state, and by age: `minute`, `hour`, `day`, `older`, `undated`.
    states: Mapping[str, Mapping[str, int]]

    @property
    def sampled(self) -> bool:
        """Whether not all records were read."""
        return self.read < self.total

    def number(self, state: str, age: str | None = None) -> int:
        """
        Return the number of records in *state*, and of that *age*; for a sample, an estimate for all records.
        """
        ages = self.states.get(state, {})
        found = sum(ages.values()) if age is None else ages.get(age, 0)
        return round(found * self.total / self.read) if self.read else 0


class Sample:
    """A random sample of the ids that pass, each with the same chance."""

    def __init__(self, size: int) -> None:
        if not isinstance(size, int) or size < 1:
            raise ArgumentError("a sample", size, "give a number from 1 on")
        self.ids: list[str] = []
        self.total = 0
        self._size = size
        self._gone = 0
        self._states: dict[str, Counter[str]] = {}

    def add(self, task_id: str) -> None:
        """Let *task_id* pass."""
        self.total += 1
        if len(self.ids) < self._size:
            self.ids.append(task_id)
        elif (place := int(random() * self.total)) < self._size:
            self.ids[place] = task_id

    def take(self, meta: ResultMeta) -> None:
        """Count the record of one of the ids."""
        if not meta.known:  # it went after it was listed
            self._gone += 1
            return
        self._states.setdefault(meta.status, Counter())[_age(meta)] += 1

    @property
    def stats(self) -> Stats:
        """The counts."""
        read = len(self.ids) - self._gone
        gone = self._gone if self.total == len(self.ids) else 0
        return Stats(self.total - gone, read, {k: dict(v) for k, v in sorted(self._states.items())})


def moments() -> list[datetime]:
    """Return the moments that divide the ages, the latest first."""
    now = datetime.fromtimestamp(wall(), UTC)
    return [now - timedelta(seconds=limit) for limit in AGES.values() if limit < float("inf")]


def stats_of(tally: Tally) -> Stats:
    """Return the counts that a store has made."""
    names = dict(enumerate(AGES))
    states: dict[str, dict[str, int]] = {}
    for (state, age), number in sorted(tally.items(), key=lambda item: item[0][0]):
        states.setdefault(state, {})[UNDATED if age is None else names[age]] = number
    total = sum(tally.values())
    return Stats(total, total, states)


def _age(meta: ResultMeta) -> str:
    moment = meta.date_done or meta.date_started
    if moment is None:
        return UNDATED
    age = (datetime.fromtimestamp(wall(), UTC) - moment).total_seconds()
    return next(name for name, limit in AGES.items() if age < limit)
