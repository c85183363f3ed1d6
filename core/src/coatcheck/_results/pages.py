"""
A page of records: the first ones in some order, and where the next page begins. No I/O.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, get_args

from .._record.meta import ResultMeta
from ..errors import ArgumentError

#: The order of a page: by the time when the task ended, or else began, or by id in the store's order.
Sort = Literal["newest", "oldest", "id"]
#: The time of records without one.
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_Key = tuple[datetime, str]


class Page(NamedTuple):
    """Some records, in order."""

    records: list[ResultMeta]
    #: Give this as `after` for the next page; `None` at the end.
    cursor: str | None
    #: How many records match in all; `None` if the order is by id, for which not all are read.
    total: int | None


def cursor_of(meta: ResultMeta, sort: Sort = "newest") -> str:
    """Return the text that, given as `after`, lets a page begin behind *meta*."""
    if sort == "id":
        return meta.task_id
    moment, task_id = _key(meta)
    return f"{moment.isoformat()}/{task_id}"


def moment_of(meta: ResultMeta) -> datetime:
    """Return when the task ended, or else began; 1970 if nobody knows."""
    return meta.date_done or meta.date_started or _EPOCH


def _key(meta: ResultMeta) -> _Key:
    return moment_of(meta), meta.task_id


def _read(cursor: str) -> _Key:
    moment, _, task_id = cursor.partition("/")
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not task_id:
        raise ArgumentError("after", cursor, "use the cursor of a page in the same order")
    return found, task_id


class Choice:
    """
    Chooses the records of a page from those that pass. Holds at most twice as many as the page has.

    Args:
        sort: the order.
        limit: how many records the page has.
        after: the cursor of the page before.
    """

    def __init__(self, sort: Sort, limit: int, after: str | None) -> None:
        if sort not in get_args(Sort):
            raise ArgumentError("sort", sort, f"use one of {', '.join(get_args(Sort))}")
        if not isinstance(limit, int) or limit < 1:
            raise ArgumentError("a limit", limit, "give a number from 1 on")
        self._sort: Sort = sort
        self._limit = limit
        self._ordered = sort == "id"
        #: The `after` of the scan.
        self.after: str | None = (after or "") if self._ordered else None
        self._bound = None if self._ordered or after is None else _read(after)
        self._kept: list[ResultMeta] = []
        self._total = 0

    def add(self, meta: ResultMeta) -> bool:
        """Let *meta* pass. Return whether the page is complete."""
        self._total += 1
        if self._ordered:
            self._kept.append(meta)
            return len(self._kept) > self._limit
        if self._bound is None or self._is_behind(_key(meta), self._bound):
            self._kept.append(meta)
            if len(self._kept) > 2 * self._limit:
                self._cut(self._limit + 1)
        return False

    def _is_behind(self, key: _Key, bound: _Key) -> bool:
        return key < bound if self._sort == "newest" else key > bound

    def _cut(self, number: int) -> None:
        self._kept.sort(key=_key, reverse=self._sort == "newest")
        del self._kept[number:]

    @property
    def page(self) -> Page:
        """The page."""
        if not self._ordered:
            self._cut(self._limit + 1)
        records = self._kept[: self._limit]
        more = len(self._kept) > self._limit
        cursor = cursor_of(records[-1], self._sort) if more else None
        return Page(records, cursor, None if self._ordered else self._total)
