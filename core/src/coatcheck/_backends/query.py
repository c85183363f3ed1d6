"""
Which records a scan is for. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, Self, TypedDict

from .._record.meta import ResultMeta
from .._runtime.clocks import wall
from ..errors import ArgumentError

#: A moment, or how long ago it was.
Moment = datetime | timedelta
#: The most keys of a store without an order that are sorted at once.
SORTED: Final = 50_000
_TIMES: Final = ("since", "before")


class Filters(TypedDict, total=False):
    """Which records a scan is for: those that meet every condition given."""

    #: Their state.
    state: str | None
    #: The task's name.
    name: str | None
    #: The worker's name.
    worker: str | None
    #: They are ready since this moment, or for no longer than a `timedelta`.
    since: Moment | None
    #: They were ready before this moment, or longer ago than a `timedelta`.
    before: Moment | None
    #: They belong to this group.
    group: str | None
    #: Their ids start with this.
    prefix: str


class Query(NamedTuple):
    """
    The conditions of a scan. `None` stands for no condition; names and groups are compared exactly.

    A backend need not compare all of them: whoever reads the records checks each.
    """

    #: The keys start with this.
    prefix: str = ""
    state: str | None = None
    name: str | None = None
    worker: str | None = None
    #: The `group_id` in the record.
    group: str | None = None
    #: Ready, and since this moment or later, in UTC.
    since: datetime | None = None
    #: Ready, and before this moment, in UTC.
    before: datetime | None = None
    #: The keys come after this one in the backend's order, see `BaseBackend.ordered`.
    after: str | None = None

    @classmethod
    def of(cls, filters: Filters, *, after: str | None = None) -> Self:
        """Return the query for *filters*. Raises `ArgumentError` for a filter of another type."""
        given: dict[str, Any] = {**filters, "after": after}
        for name, value in given.items():
            if value is not None:
                given[name] = (_moment if name in _TIMES else _text)(name, value)
        return cls(**given)

    def under(self, prefix: str) -> Self:
        """Return the query for the same keys with *prefix* before them."""
        after = None if self.after is None else prefix + self.after
        return self._replace(prefix=prefix + self.prefix, after=after)

    def matches(self, meta: ResultMeta) -> bool:
        """Whether the record meets all conditions but those on keys."""
        return (
            (self.state is None or meta.status == self.state)
            and (self.since is self.before is None or self._is_in_time(meta))
            and (self.name is None or meta.name == self.name)
            and (self.worker is None or meta.worker == self.worker)
            and (self.group is None or meta.group_id == self.group)
        )

    def _is_in_time(self, meta: ResultMeta) -> bool:
        done = meta.date_done if meta.ready else None
        if done is None:
            return False
        return (self.since or done) <= done and (self.before is None or done < self.before)

    def among(self, keys: Iterable[str]) -> Iterable[str]:
        """Return those of *keys* that meet the conditions on keys, each once."""
        found = (key for key in dict.fromkeys(keys) if key.startswith(self.prefix))
        after = self.after
        return found if after is None else sorted(key for key in found if key > after)

    @property
    def narrows(self) -> bool:
        """Whether there is a condition on more than keys."""
        return self[1:-1] != (None,) * 6


def _text(name: str, value: object) -> str:
    try:
        if isinstance(value, str):
            value.encode()
            return value
    except UnicodeEncodeError:
        pass
    raise ArgumentError(name, value, "use text that UTF-8 can encode")


def _moment(name: str, value: object) -> datetime:
    if isinstance(value, timedelta):
        try:
            return datetime.fromtimestamp(wall(), UTC) - value
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    raise ArgumentError(name, value, "use a datetime with a time zone, or a timedelta before now")


class Sorting:
    """
    Sorts the keys of a store without an order, a portion at a time: those that follow *after*.

    All keys pass once for each portion, so that memory stays bounded.
    """

    def __init__(self, after: str) -> None:
        self._after = after
        self._kept: list[str] = []
        #: Whether the last portion was taken.
        self.ended = False

    def add(self, key: str) -> None:
        """Let *key* pass."""
        if key > self._after:
            self._kept.append(key)
            if len(self._kept) == 2 * SORTED:
                self._cut()

    def _cut(self) -> None:
        self._kept.sort()
        del self._kept[SORTED:]

    def taken(self) -> list[str]:
        """Return the portion, in order, and begin with the next one."""
        self._cut()
        taken, self._kept = self._kept, []
        self.ended = len(taken) < SORTED
        if taken:
            self._after = taken[-1]
        return taken
