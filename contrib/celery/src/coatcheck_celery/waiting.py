"""
Waiting as Celery's client does it, by coatcheck's waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, MutableMapping
from contextlib import closing
from typing import TypeVar

from celery import states
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, GroupResult, ResultSet

import coatcheck
from coatcheck.plugin import ResultMeta

from .records import Meta, TaskId, celery_errors, id_of, meta_of

T = TypeVar("T")
#: A member that is complete, by its id: a task's meta, or a group's members.
Complete = tuple[str, Meta | list[AsyncResult]]


class Waiting:
    """The part of the backend that waits. It keeps nothing for a result that nobody waits for."""

    supports_native_join = True
    #: `GroupResult.then` is fulfilled.
    is_async = True

    results: coatcheck.Results
    _cache: MutableMapping[str, Meta]
    _ensure_not_eager: Callable[[], None]
    meta_from_decoded: Callable[[Meta], Meta]

    def add_pending_result(self, result: T, weak: bool = False) -> T:  # noqa: FBT001, FBT002
        return result

    def remove_pending_result(self, result: T) -> T:
        return result

    def on_task_call(self, producer: object, task_id: str) -> dict[str, object]:
        return {}  # a wait subscribes and then looks: none is missed

    # -- one task -------------------------------------------------------------------------

    def wait_for_pending(
        self,
        result: AsyncResult,
        timeout: float | None = None,
        interval: float | None = None,
        no_ack: bool = True,  # noqa: FBT001, FBT002 - Celery's signature
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        callback: Callable[[str, object], object] | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002
        **kwargs: object,
    ) -> object:
        """Wait for the task of *result*; return its value or raise its exception."""
        ids = [id_of(result.id)]
        with closing(self._metas(ids, timeout, interval, on_interval, on_message)) as metas:
            _, meta = next(metas)
        if on_interval is not None and meta["status"] in states.PROPAGATE_STATES:
            # Celery's callback raises the error of a parent, which comes before this one.
            on_interval()
        result._maybe_set_cache(meta)  # noqa: SLF001 - how a backend tells it
        return result.maybe_throw(propagate=propagate, callback=callback)

    def wait_for(
        self,
        task_id: TaskId,
        timeout: float | None = None,
        interval: float | None = None,
        no_ack: bool = True,  # noqa: FBT001, FBT002
        on_interval: Callable[[], object] | None = None,
    ) -> Meta:
        """Wait for a task, and return its meta."""
        with closing(self._metas([id_of(task_id)], timeout, interval, on_interval)) as metas:
            return next(metas)[1]

    # -- many tasks -----------------------------------------------------------------------

    def get_many(
        self,
        task_ids: Iterable[TaskId],
        timeout: float | None = None,
        interval: float | None = 0.5,
        no_ack: bool = True,  # noqa: FBT001, FBT002
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        max_iterations: int | None = None,
        **kwargs: object,
    ) -> Iterator[tuple[str, Meta]]:
        """
        Iterate over ids and metas as the tasks become ready.

        With *max_iterations* it ends quietly after that number of intervals.
        """
        ids = {id_of(task_id) for task_id in task_ids}
        patience = timeout
        if max_iterations:
            patience = min(
                (max_iterations - 1) * (interval or 0.5), timeout if timeout is not None else 1e9
            )
        try:
            yield from self._metas(ids, patience, interval, on_interval, on_message)
        except CeleryTimeoutError:
            if not max_iterations:
                raise

    def iter_native(
        self,
        result: ResultSet,
        timeout: float | None = None,
        interval: float | None = 0.5,
        no_ack: bool = True,  # noqa: FBT001, FBT002
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        **kwargs: object,
    ) -> Iterator[Complete]:
        """
        Iterate over the members of a set as they complete: tasks with metas, groups with their members.
        """
        self._ensure_not_eager()
        pending = _Members(result.results)
        yield from pending.done
        if not pending.waiting:
            return
        ids = set(pending.waiting)
        for task_id, meta in self._metas(ids, timeout, interval, on_interval, on_message):
            yield from pending.ready(task_id, meta)

    def _metas(
        self,
        ids: Iterable[str],
        timeout: float | None,
        interval: float | None,
        on_interval: Callable[[], object] | None,
        on_message: Callable[[Meta], object] | None = None,
    ) -> Generator[tuple[str, Meta], None, None]:
        self._ensure_not_eager()
        found = self.results.as_completed(
            ids,
            timeout=None if timeout is None else max(float(timeout), 0.0),
            interval=interval,
            on_interval=on_interval,
            updates=on_message is not None,
        )
        try:
            with closing(found) as records, celery_errors():
                for record in records:
                    meta = self._read(record)
                    if on_message is not None:
                        on_message(meta)
                    if record.ready:
                        yield record.task_id, meta
        except coatcheck.WaitTimeoutError as error:
            why = "" if error.last_error is None else f" {error}"
            raise CeleryTimeoutError(f"The operation timed out.{why}") from error

    def _read(self, record: ResultMeta) -> Meta:
        meta = self.meta_from_decoded(meta_of(record))
        if record.successful:
            self._cache[record.task_id] = meta
        return meta


class _Members:
    """The members of a set, by the tasks that they wait for."""

    def __init__(self, members: Iterable[AsyncResult | ResultSet]) -> None:
        #: The members that need no waiting.
        self.done: list[Complete] = []
        #: The tasks that may not be ready, each with its handles and groups.
        self.waiting: dict[str, list[tuple[AsyncResult, _Group | None]]] = {}
        for member in members:
            if isinstance(member, ResultSet):
                self._add_group(member)
            else:
                self._add(member, None)

    def _add_group(self, member: ResultSet) -> None:
        group = _Group(member)
        for leaf in _leaves(member):
            group.missing += self._add(leaf, group)
        if not group.missing:
            self.done.append(group.item)

    def _add(self, handle: AsyncResult, group: _Group | None) -> bool:
        known = handle._cache  # noqa: SLF001 - without asking the store
        if known is None:
            self.waiting.setdefault(id_of(handle.id), []).append((handle, group))
        elif group is None:
            self.done.append((handle.id, known))
        return known is None

    def ready(self, task_id: str, meta: Meta) -> Iterator[Complete]:
        """Note that a task is ready. Iterate over the members that this completes."""
        for handle, group in self.waiting.pop(task_id, ()):
            handle._maybe_set_cache(dict(meta))  # noqa: SLF001 - how a backend tells it
            if group is None:
                yield handle.id, handle._cache  # noqa: SLF001
                continue
            group.missing -= 1
            if not group.missing:
                yield group.item


class _Group:
    def __init__(self, result: GroupResult) -> None:
        self.item = (result.id, result.results)
        self.missing = 0


def _leaves(result: ResultSet) -> Iterator[AsyncResult]:
    for member in result.results:
        if isinstance(member, ResultSet):
            yield from _leaves(member)
        else:
            yield member
