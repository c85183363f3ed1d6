"""
Several tasks at once under asyncio, see `coatcheck._results.resultsets`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, overload

from .._record.meta import ResultMeta
from .._settings.durations import Expires
from .._settings.options import DEFAULT, Default
from .asyncio_handles import AsyncResult
from .misuse import called
from .resultsets import HandleSet

if TYPE_CHECKING:
    from .asyncio_results import Results

T = TypeVar("T")


class ResultSet(HandleSet[AsyncResult[T]], Generic[T]):
    """The same as `coatcheck.ResultSet`, with coroutine methods for I/O."""

    _elsewhere = "pass its task ids and the URL, and call coatcheck.aio.by_url(url).ResultSet(task_ids) there"

    def __init__(
        self,
        results: Results,
        task_ids: Iterable[str | AsyncResult[T]],
        group_id: str | None = None,
    ) -> None:
        super().__init__(results.AsyncResult, task_ids, group_id)
        self._results = results

    async def metas(self) -> list[ResultMeta]:
        """See `coatcheck.ResultSet.metas`."""
        known, unread = self._divided()
        fresh = await self._results.get_many(unread)
        return self._in_order([*known, *map(self._remember, fresh.values())])

    async def _snapshots(self) -> AsyncGenerator[ResultMeta, None]:
        known, unread = self._divided()
        for meta in known:
            yield meta
        async with aclosing(self._results._snapshots(unread)) as metas:  # noqa: SLF001 - its set
            async for meta in metas:
                yield self._remember(meta)

    async def _any(self, is_so: Callable[[ResultMeta], bool]) -> bool:
        async with aclosing(self._snapshots()) as metas:
            async for meta in metas:
                if is_so(meta):
                    return True
        return False

    @called
    async def ready(self) -> bool:
        """See `coatcheck.ResultSet.ready`."""
        return not await self._any(lambda meta: not meta.ready)

    @called
    async def successful(self) -> bool:
        """See `coatcheck.ResultSet.successful`."""
        return not await self._any(lambda meta: not meta.successful)

    @called
    async def failed(self) -> bool:
        """See `coatcheck.ResultSet.failed`."""
        return await self._any(lambda meta: meta.failed)

    @called
    async def waiting(self) -> bool:
        """See `coatcheck.ResultSet.waiting`."""
        return not await self.ready()

    @called
    async def completed_count(self) -> int:
        """See `coatcheck.ResultSet.completed_count`."""
        async with aclosing(self._snapshots()) as metas:
            return sum([meta.successful async for meta in metas])

    async def as_completed(self, timeout: float | None = None) -> AsyncGenerator[ResultMeta, None]:
        """See `coatcheck.ResultSet.as_completed`."""
        async with aclosing(self._results.as_completed(self._handles, timeout=timeout)) as metas:
            async for meta in metas:
                yield self._remember(meta)

    @overload
    async def get(
        self, timeout: float | None = None, *, propagate: Literal[True] = True, wrap: bool = False
    ) -> list[T]: ...
    @overload
    async def get(
        self, timeout: float | None = None, *, propagate: bool, wrap: bool = False
    ) -> list[T | Exception]: ...
    async def get(
        self, timeout: float | None = None, *, propagate: bool = True, wrap: bool = False
    ) -> list[T] | list[T | Exception]:
        """See `coatcheck.ResultSet.get`."""
        values: dict[str, T | Exception] = {}
        async with aclosing(self.as_completed(timeout)) as metas:
            async for meta in metas:
                handle = self._handles[meta.task_id]
                values[meta.task_id] = handle._value_of(  # noqa: SLF001 - its handle
                    meta, propagate=propagate, wrap=wrap
                )
        return [values[task_id] for task_id in self._handles]

    async def forget(self) -> int:
        """See `coatcheck.ResultSet.forget`."""
        return await self._results.forget_many(self._forget())

    async def save(
        self, group_id: str | None = None, *, expires: Expires | Default = DEFAULT
    ) -> str:
        """See `coatcheck.ResultSet.save`."""
        name = self._named(group_id)
        await self._results.save_group(name, self._handles, expires=expires)
        return name

    async def delete(self) -> bool:
        """See `coatcheck.ResultSet.delete`."""
        return await self._results.delete_group(self._named(None))
