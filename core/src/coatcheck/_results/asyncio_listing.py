"""
Finding and counting records in asyncio, see `coatcheck._results.listing`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, suppress
from typing import Unpack

from .._backends.portions import BATCH
from .._backends.query import Filters, Query, Sorting
from .._record.meta import ResultMeta
from ..errors import BackendUnavailableError, UnsupportedError
from .asyncio_reading import Reads
from .counting import SAMPLE, Sample, Stats, moments, stats_of
from .pages import Choice, Page, Sort


class Lists(Reads):
    """The methods of `Results` that go through all records."""

    async def scan(
        self, *, after: str | None = None, **filters: Unpack[Filters]
    ) -> AsyncGenerator[ResultMeta, None]:
        """See `coatcheck.Results.scan`."""
        query = Query.of(filters, after=after)
        members = None if query.group is None else await self._members(query.group)
        ids = self._ids(query)
        if members is not None:
            ids, query = _each(query.among(members)), query._replace(group=None)
        batch: list[str] = []
        async for task_id in ids:
            batch.append(task_id)
            if len(batch) == BATCH:
                async with aclosing(self._matching(batch, query)) as metas:
                    async for meta in metas:
                        yield meta
                batch = []
        async with aclosing(self._matching(batch, query)) as metas:
            async for meta in metas:
                yield meta

    async def _members(self, group: str) -> list[str] | None:
        """Return the ids of a stored group; `None` if it is not stored."""
        try:
            return await self.backend.get_group(group)
        except UnsupportedError:
            return None

    async def _ids(self, query: Query) -> AsyncIterator[str]:
        if query.after is None or self.backend.ordered:
            async for task_id in self.backend.find(query):
                yield task_id
            return
        sorting = Sorting(query.after)
        while not sorting.ended:
            async for task_id in self.backend.find(query):
                sorting.add(task_id)
            for task_id in sorting.taken():
                yield task_id

    async def _matching(self, batch: list[str], query: Query) -> AsyncGenerator[ResultMeta, None]:
        # Not checked as ids: foreign keys may have made them.
        async with aclosing(self._read(batch)) as reads:
            async for portion, metas in reads:
                for task_id in portion:
                    meta = metas.get(task_id)
                    if task_id and meta is not None and query.matches(meta):
                        yield meta

    async def page(
        self,
        *,
        sort: Sort = "newest",
        limit: int = 100,
        after: str | None = None,
        **filters: Unpack[Filters],
    ) -> Page:
        """See `coatcheck.Results.page`."""
        choice = Choice(sort, limit, after)
        async with aclosing(self.scan(after=choice.after, **filters)) as metas:
            async for meta in metas:
                if choice.add(meta):
                    break
        return choice.page

    async def stats(self, *, sample: int = SAMPLE) -> Stats:
        """See `coatcheck.Results.stats`."""
        chosen = Sample(sample)
        with suppress(BackendUnavailableError):  # a count of many records may take too long
            tally = await self.backend.tally(moments())
            if tally is not None:
                return stats_of(tally)
        async for task_id in self.backend.scan():
            chosen.add(task_id)
        async with aclosing(self._snapshots(chosen.ids)) as metas:
            async for meta in metas:
                chosen.take(meta)
        return chosen.stats


async def _each(ids: Iterable[str]) -> AsyncIterator[str]:
    for task_id in ids:
        yield task_id
