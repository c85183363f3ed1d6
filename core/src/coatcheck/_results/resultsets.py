"""
Several tasks at once, see `handles` for one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from .._backends.portions import MOST, weight
from .._record.meta import ResultMeta
from .._settings.durations import Expires
from .._settings.options import DEFAULT, Default
from ..errors import ArgumentError
from .handles import AsyncResult, Handle
from .misuse import HoldsConnections, called

if TYPE_CHECKING:
    from .results import Results

T = TypeVar("T")
H = TypeVar("H", bound=Handle[Any])


class HandleSet(HoldsConnections, Generic[H]):
    """The common base of the sets of both sides. No I/O."""

    def __init__(
        self, handle: Callable[[str], H], task_ids: Iterable[str | H], group_id: str | None
    ) -> None:
        self._handle = handle
        #: The id under which the set was saved or restored, or will be saved.
        self.group_id = group_id
        self._handles: dict[str, H] = {}
        # How many bytes of records the handles keep.
        self._kept = 0
        for task_id in task_ids:
            self.add(task_id)

    def __repr__(self) -> str:
        return f"<ResultSet of {len(self)}>"

    def __len__(self) -> int:
        return len(self._handles)

    def __iter__(self) -> Iterator[H]:
        return iter(list(self._handles.values()))

    def __contains__(self, task_id: str | H) -> bool:
        return (task_id if isinstance(task_id, str) else task_id.task_id) in self._handles

    @property
    def task_ids(self) -> list[str]:
        """The ids of the tasks, in order."""
        return list(self._handles)

    def add(self, task_id: str | H) -> None:
        """Add a task, unless it is in the set."""
        handle = task_id if isinstance(task_id, Handle) else self._handle(task_id)
        self._handles.setdefault(handle.task_id, handle)

    def _divided(self) -> tuple[list[ResultMeta], list[str]]:
        """Return the ready records that are known, and the ids of the other tasks."""
        metas = {id_: handle.known_meta for id_, handle in list(self._handles.items())}
        known = [meta for meta in metas.values() if meta is not None]
        return known, [id_ for id_, meta in metas.items() if meta is None]

    def _in_order(self, metas: Iterable[ResultMeta]) -> list[ResultMeta]:
        """Return *metas* in the order of the set."""
        by_id = {meta.task_id: meta for meta in metas}
        return [by_id[id_] for id_ in self.task_ids if id_ in by_id]

    def _remember(self, meta: ResultMeta) -> ResultMeta:
        """
        Have the handle keep a ready record, as long as all that the handles keep is not large.
        """
        size = weight([meta]) if meta.ready else 0
        if self._kept + size <= MOST:
            self._kept += size
            self._handles[meta.task_id].remember(meta)
        return meta

    def _named(self, group_id: str | None) -> str:
        """Return *group_id*, the set's name from now on, or the name that it has."""
        name = group_id or self.group_id
        if not name:
            raise ArgumentError("a group id", name, "name the group")
        self.group_id = name
        return name

    def _forget(self) -> list[str]:
        """Forget the records that the handles keep. Return the ids."""
        self._handles = {id_: self._handle(id_) for id_ in self._handles}
        self._kept = 0
        return list(self._handles)


class ResultSet(HandleSet[AsyncResult[T]], Generic[T]):
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
        super().__init__(results.AsyncResult, task_ids, group_id)
        self._results = results

    def metas(self) -> list[ResultMeta]:
        """Return a snapshot of each record, in order."""
        known, unread = self._divided()
        fresh = self._results.get_many(unread)
        return self._in_order([*known, *map(self._remember, fresh.values())])

    def _snapshots(self) -> Iterator[ResultMeta]:
        known, unread = self._divided()
        yield from known
        for meta in self._results._snapshots(unread):  # noqa: SLF001 - its set
            yield self._remember(meta)

    @called
    def ready(self) -> bool:
        """Whether all tasks are over; `True` for none."""
        return all(meta.ready for meta in self._snapshots())

    @called
    def successful(self) -> bool:
        """Whether all tasks ended in SUCCESS."""
        return all(meta.successful for meta in self._snapshots())

    @called
    def failed(self) -> bool:
        """Whether any task ended in FAILURE."""
        return any(meta.failed for meta in self._snapshots())

    @called
    def waiting(self) -> bool:
        """Whether any task is not over."""
        return not self.ready()

    @called
    def completed_count(self) -> int:
        """Return how many tasks ended in SUCCESS."""
        return sum(meta.successful for meta in self._snapshots())

    def as_completed(self, timeout: float | None = None) -> Generator[ResultMeta, None, None]:
        """Iterate over the records as they become ready. See `Results.as_completed`."""
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
                handle = self._handles[meta.task_id]
                values[meta.task_id] = handle._value_of(  # noqa: SLF001 - its handle
                    meta, propagate=propagate, wrap=wrap
                )
        return [values[task_id] for task_id in self._handles]

    def forget(self) -> int:
        """Delete the records; return how many there were."""
        return self._results.forget_many(self._forget())

    def save(self, group_id: str | None = None, *, expires: Expires | Default = DEFAULT) -> str:
        """Keep the list of ids under *group_id*, and return that. The last save wins."""
        name = self._named(group_id)
        self._results.save_group(name, self._handles, expires=expires)
        return name

    def delete(self) -> bool:
        """Delete the saved list of ids, not the records; `False` if there was none."""
        return self._results.delete_group(self._named(None))
