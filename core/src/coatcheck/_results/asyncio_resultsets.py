"""
Several tasks at once under asyncio, see `coatcheck._results.resultsets`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, overload

from .._backends.portions import MOST, weight
from .._record.meta import ResultMeta
from .asyncio_handles import AsyncResult
from .misuse import HoldsConnections, called
from .resultsets import checked_group
from .writing import DEFAULT, Default, Expires

if TYPE_CHECKING:
    from .asyncio_results import Results

T = TypeVar("T")


class ResultSet(HoldsConnections, Generic[T]):
    """
    The same as `coatcheck.ResultSet`, with coroutine methods for I/O.
    """

    _elsewhere = "pass its task ids and the URL, and call coatcheck.aio.by_url(url).ResultSet(task_ids) there"

    def __init__(
        self,
        results: Results,
        task_ids: Iterable[str | AsyncResult[T]],
        group_id: str | None = None,
    ) -> None:
        self._results = results
        #: The id under which the set was saved or restored, or will be saved.
        self.group_id = group_id
        self._handles: dict[str, AsyncResult[T]] = {}
        # How many bytes of records the handles keep.
        self._kept = 0
        for task_id in task_ids:
            self.add(task_id)

    def __repr__(self) -> str:
        return f"<ResultSet of {len(self)}>"

    def __len__(self) -> int:
        return len(self._handles)

    def __iter__(self) -> Iterator[AsyncResult[T]]:
        return iter(list(self._handles.values()))

    def __contains__(self, task_id: str | AsyncResult[T]) -> bool:
        return (task_id if isinstance(task_id, str) else task_id.task_id) in self._handles

    @property
    def task_ids(self) -> list[str]:
        """
        See `coatcheck.ResultSet.task_ids`.
        """
        return list(self._handles)

    def add(self, task_id: str | AsyncResult[T]) -> None:
        """
        See `coatcheck.ResultSet.add`.
        """
        handle = task_id if isinstance(task_id, AsyncResult) else self._results.AsyncResult(task_id)
        self._handles.setdefault(handle.task_id, handle)

    async def metas(self) -> list[ResultMeta]:
        """
        See `coatcheck.ResultSet.metas`.
        """
        metas = {id_: h.known_meta for id_, h in self._handles.items()}
        fresh = await self._results.get_many(id_ for id_, meta in metas.items() if meta is None)
        for id_, meta in fresh.items():
            metas[id_] = self._remember(meta)
        return [meta for meta in metas.values() if meta is not None]

    async def _snapshots(self) -> AsyncGenerator[ResultMeta, None]:
        unread = []
        for task_id, handle in list(self._handles.items()):
            if handle.known_meta is not None:
                yield handle.known_meta
            else:
                unread.append(task_id)
        async with aclosing(self._results._snapshots(unread)) as metas:  # noqa: SLF001 - its set
            async for meta in metas:
                yield self._remember(meta)

    def _remember(self, meta: ResultMeta) -> ResultMeta:
        """
        See `coatcheck._results.resultsets.ResultSet._remember`.
        """
        size = weight([meta]) if meta.ready else 0
        if self._kept + size <= MOST:
            self._kept += size
            self._handles[meta.task_id].remember(meta)
        return meta

    async def _any(self, is_so: Callable[[ResultMeta], bool]) -> bool:
        async with aclosing(self._snapshots()) as metas:
            async for meta in metas:
                if is_so(meta):
                    return True
        return False

    @called
    async def ready(self) -> bool:
        """
        See `coatcheck.ResultSet.ready`.
        """
        return not await self._any(lambda meta: not meta.ready)

    @called
    async def successful(self) -> bool:
        """
        See `coatcheck.ResultSet.successful`.
        """
        return not await self._any(lambda meta: not meta.successful)

    @called
    async def failed(self) -> bool:
        """
        See `coatcheck.ResultSet.failed`.
        """
        return await self._any(lambda meta: meta.failed)

    @called
    async def waiting(self) -> bool:
        """
        See `coatcheck.ResultSet.waiting`.
        """
        return not await self.ready()

    @called
    async def completed_count(self) -> int:
        """
        See `coatcheck.ResultSet.completed_count`.
        """
        async with aclosing(self._snapshots()) as metas:
            return sum([meta.successful async for meta in metas])

    async def as_completed(self, timeout: float | None = None) -> AsyncGenerator[ResultMeta, None]:
        """
        See `coatcheck.ResultSet.as_completed`.
        """
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
        """
        See `coatcheck.ResultSet.get`.
        """
        values: dict[str, T | Exception] = {}
        async with aclosing(self.as_completed(timeout)) as metas:
            async for meta in metas:
                values[meta.task_id] = meta.get(wrap=wrap) if propagate else meta.result
        return [values[task_id] for task_id in self._handles]

    async def forget(self) -> int:
        """
        See `coatcheck.ResultSet.forget`.
        """
        self._handles = {id_: self._results.AsyncResult(id_) for id_ in self._handles}
        self._kept = 0
        return await self._results.forget_many(self._handles)

    async def save(
        self, group_id: str | None = None, *, expires: Expires | Default = DEFAULT
    ) -> str:
        """
        See `coatcheck.ResultSet.save`.
        """
        self.group_id = checked_group(group_id or self.group_id)
        await self._results.save_group(self.group_id, self._handles, expires=expires)
        return self.group_id

    async def delete(self) -> bool:
        """
        See `coatcheck.ResultSet.delete`.
        """
        return await self._results.delete_group(checked_group(self.group_id))
