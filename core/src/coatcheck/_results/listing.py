"""
Finding and counting records, for synchronous code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Unpack

from .._backends.portions import BATCH
from .._backends.query import Filters, Query, Sorting
from .._record.meta import ResultMeta
from ..errors import BackendUnavailableError, UnsupportedError
from .counting import SAMPLE, Sample, Stats, moments, stats_of
from .pages import Choice, Page, Sort
from .reading import Reads


class Lists(Reads):
    """The methods of `Results` that go through all records."""

    def scan(self, *, after: str | None = None, **filters: Unpack[Filters]) -> Iterator[ResultMeta]:
        """
        Iterate over the records that meet all *filters*, see `coatcheck.Filters`. Needs the capability SCAN.

        SQL databases and MongoDB compare the filters by themselves, SQLite compares states. Other stores
        send all records, and the reader compares. No value is decoded.

        Args:
            after: iterate in the order of the ids, beginning behind this one, or with "" at the first.
                Without it there is no order. A store without an order lists all ids for it.
        """
        query = Query.of(filters, after=after)
        members = None if query.group is None else self._members(query.group)
        ids: Iterable[str] = self._ids(query)
        if members is not None:
            ids, query = query.among(members), query._replace(group=None)
        batch: list[str] = []
        for task_id in ids:
            batch.append(task_id)
            if len(batch) == BATCH:
                yield from self._matching(batch, query)
                batch = []
        yield from self._matching(batch, query)

    def _members(self, group: str) -> list[str] | None:
        """Return the ids of a stored group; `None` if it is not stored."""
        try:
            return self.backend.get_group(group)
        except UnsupportedError:
            return None

    def _ids(self, query: Query) -> Iterator[str]:
        if query.after is None or self.backend.ordered:
            yield from self.backend.find(query)
            return
        sorting = Sorting(query.after)
        while not sorting.ended:
            for task_id in self.backend.find(query):
                sorting.add(task_id)
            yield from sorting.taken()

    def _matching(self, batch: list[str], query: Query) -> Iterator[ResultMeta]:
        # Not checked as ids: foreign keys may have made them.
        for portion, metas in self._read(batch):
            for task_id in portion:
                meta = metas.get(task_id)
                if task_id and meta is not None and query.matches(meta):
                    yield meta

    def page(
        self,
        *,
        sort: Sort = "newest",
        limit: int = 100,
        after: str | None = None,
        **filters: Unpack[Filters],
    ) -> Page:
        """
        Return the first records that meet all *filters*, and a cursor for the next page. Needs the
        capability SCAN.

        By time, each page reads all that match; records that are stored between two pages do not shift
        the second one. By id, a page ends the search as soon as it is full.

        Args:
            sort: "newest" or "oldest" first, by the time when the task ended, or else began; or "id".
            limit: how many records a page has.
            after: the cursor of the page before.
        """
        choice = Choice(sort, limit, after)
        for meta in self.scan(after=choice.after, **filters):
            if choice.add(meta):
                break
        return choice.page

    def stats(self, *, sample: int = SAMPLE) -> Stats:
        """
        Count the records by state and age. Needs the capability SCAN.

        SQL databases and MongoDB count by themselves. Elsewhere, and where that takes too long, all ids are
        listed, and at most *sample* records, chosen at random, are read: the result says so.
        """
        chosen = Sample(sample)
        with suppress(BackendUnavailableError):  # a count of many records may take too long
            tally = self.backend.tally(moments())
            if tally is not None:
                return stats_of(tally)
        for task_id in self.backend.scan():
            chosen.add(task_id)
        for meta in self._snapshots(chosen.ids):
            chosen.take(meta)
        return chosen.stats
