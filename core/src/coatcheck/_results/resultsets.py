"""
Several tasks at once, see `handles` for one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, overload

from .._backends.portions import MOST, weight
from .._record.meta import ResultMeta
from ..errors import ArgumentError
from .handles import AsyncResult
from .misuse import HoldsConnections, called
from .writing import DEFAULT, Default, Expires

if TYPE_CHECKING:
    from .results import Results

T = TypeVar("T")


class ResultSet(HoldsConnections, Generic[T]):
    """
    Handles on several tasks, in order; a task may be in it once.

    `ready()` and its kin are one batched read of the tasks that are not known to be ready.
    """

    _elsewhere = (
        "pass its task ids and the URL, and call coatcheck.by_url(url).ResultSet(task_ids) there"
    )

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
        The ids of the tasks, in order.
        """
        return list(self._handles)

    def add(self, task_id: str | AsyncResult[T]) -> None:
        """
        Add a task, unless it is in the set.
        """
        handle = task_id if isinstance(task_id, AsyncResult) else self._results.AsyncResult(task_id)
        self._handles.setdefault(handle.task_id, handle)

    def metas(self) -> list[ResultMeta]:
        """
        Return a snapshot of each record, in order.
        """
        metas = {id_: h.known_meta for id_, h in self._handles.items()}
        fresh = self._results.get_many(id_ for id_, meta in metas.items() if meta is None)
        for id_, meta in fresh.items():
            metas[id_] = self._remember(meta)
        return [meta for meta in metas.values() if meta is not None]

    def _snapshots(self) -> Iterator[ResultMeta]:
        unread = []
        for task_id, handle in list(self._handles.items()):
            if handle.known_meta is not None:
                yield handle.known_meta
            else:
                unread.append(task_id)
        for meta in self._results._snapshots(unread):  # noqa: SLF001 - its set
            yield self._remember(meta)

    def _remember(self, meta: ResultMeta) -> ResultMeta:
        """
        Have the handle keep a ready record, as long as all that the handles keep is not large.
        """
        size = weight([meta]) if meta.ready else 0
        if self._kept + size <= MOST:
            self._kept += size
            self._handles[meta.task_id].remember(meta)
        return meta

    @called
    def ready(self) -> bool:
        """
        Whether all tasks are over; `True` for none.
        """
        return all(meta.ready for meta in self._snapshots())

    @called
    def successful(self) -> bool:
        """
        Whether all tasks ended in SUCCESS.
        """
        return all(meta.successful for meta in self._snapshots())

    @called
    def failed(self) -> bool:
        """
        Whether any task ended in FAILURE.
        """
        return any(meta.failed for meta in self._snapshots())

    @called
    def waiting(self) -> bool:
        """
        Whether any task is not over.
        """
        return not self.ready()

    @called
    def completed_count(self) -> int:
        """
        Return how many tasks ended in SUCCESS.
        """
        return sum(meta.successful for meta in self._snapshots())

    def as_completed(self, timeout: float | None = None) -> Generator[ResultMeta, None, None]:
        """
        Iterate over the records as they become ready. See `Results.as_completed`.
        """
        with closing(self._results.as_completed(self._handles, timeout=timeout)) as metas:
            for meta in metas:
                yield self._remember(meta)

    @overload
    def get(
        self, timeout: float | None = None, *, propagate: Literal[True] = True, wrap: bool = False
    ) -> list[T]: ...
    @overload
    def get(
        self, timeout: float | None = None, *, propagate: bool, wrap: bool = False
    ) -> list[T | Exception]: ...
    def get(
        self, timeout: float | None = None, *, propagate: bool = True, wrap: bool = False
    ) -> list[T] | list[T | Exception]:
        """
        Wait for all tasks and return their values in order.

        The first failure that comes is raised at once; without *propagate* exceptions are
        values. Raises `WaitTimeoutError` *timeout* seconds after the start.
        """
        values: dict[str, T | Exception] = {}
        with closing(self.as_completed(timeout)) as metas:
            for meta in metas:
                values[meta.task_id] = meta.get(wrap=wrap) if propagate else meta.result
        return [values[task_id] for task_id in self._handles]

    def forget(self) -> int:
        """
        Delete the records; return how many there were.
        """
        self._handles = {id_: self._results.AsyncResult(id_) for id_ in self._handles}
        self._kept = 0
        return self._results.forget_many(self._handles)

    def save(self, group_id: str | None = None, *, expires: Expires | Default = DEFAULT) -> str:
        """
        Keep the list of ids under *group_id*, and return that. The last save wins.
        """
        self.group_id = checked_group(group_id or self.group_id)
        self._results.save_group(self.group_id, self._handles, expires=expires)
        return self.group_id

    def delete(self) -> bool:
        """
        Delete the saved list of ids, not the records; `False` if there was none.
        """
        return self._results.delete_group(checked_group(self.group_id))


def checked_group(group_id: str | None) -> str:
    """
    Return *group_id*, if there is one.
    """
    if not group_id:
        raise ArgumentError("a group id", group_id, "name the group")
    return group_id
