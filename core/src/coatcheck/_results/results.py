"""
`Results`: the result backend of an application, for synchronous code.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from .._backends.backend import Backend
from .._backends.portions import Portions
from .._backends.records import lift
from .._record.documents import Fields, checked_id
from .._record.meta import ResultMeta
from .._settings.durations import Expires, checked_heartbeat, checked_timeout
from .._settings.options import DEFAULT, Default, Options
from .._waiting.hub import Hub, ThreadWaiter
from ..errors import (
    BackendError,
    BackendUnavailableError,
    SerializationError,
    UnknownTaskError,
)
from . import handles, resultsets
from .changes import Changes
from .noticing import Notices
from .observed import ObservedBackend, observed_wait
from .once import Once
from .revoking import Revoking
from .running import RunningTask
from .submitting import Submitting
from .writing import Writer

if TYPE_CHECKING:
    from .._backends import asyncio_backend as aio

T = TypeVar("T")


class Results(Notices, Changes, Once, Revoking, Submitting):
    """
    Stores results, and reads and awaits them. Shared freely between threads; survives a fork.

    Args:
        backend: where records are kept; an asyncio backend runs on a loop in a thread.
        name: the text in `repr()`, such as the URL without its secrets.
        options: see `coatcheck.Options`.
    """

    backend: Backend[ResultMeta]

    def __init__(
        self,
        backend: Backend[Any] | aio.Backend[Any],
        *,
        name: str = "",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(name, options)
        self._portions = Portions(spread=backend.spread)
        lifted = lift(_for_threads(backend), self._codec, key_prefix=self._key_prefix)
        observed = ObservedBackend(lifted, self._hooks) if self._hooks else lifted
        self.backend = observed
        # Not a method of this object: in a cycle, a dropped object would stay connected until the next
        # garbage collection.
        on_lost = partial(_end_lost, self.backend, self._writer)
        # The hub's looks are not watched: they are a part of the wait.
        self._hub = Hub(
            lifted,
            portions=self._portions,
            safety_look=self._safety_look,
            operation_timeout=self._operation_timeout,
            on_lost=on_lost,
        )

    def running(
        self,
        task_id: str,
        *,
        expires: Expires | Default = DEFAULT,
        heartbeat: float | None = None,
        **fields: Unpack[Fields],
    ) -> RunningTask:
        """
        Run a block as a task: STARTED, then SUCCESS or FAILURE by how it ends.

        KeyboardInterrupt and SystemExit lead to REVOKED. The exception is raised on. With *heartbeat*, a thread
        writes a sign of life every *heartbeat* seconds, and waiters notice if it stops.
        """
        return RunningTask(
            self,
            checked_id(task_id),
            expires=expires,
            heartbeat=checked_heartbeat(heartbeat),
            fields=fields,
        )

    # -- waiting --------------------------------------------------------------------------

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> ResultMeta:
        """
        Wait until the task is ready and return its record; failures are not raised.

        Args:
            timeout: seconds; `None` waits, 0 looks once. Then `WaitTimeoutError` is raised.
            interval: seconds between calls of *on_interval*, half a second by default.
            on_interval: called again and again while waiting. An exception from it ends the wait.
        """
        return self._wait(checked_id(task_id), timeout, interval, on_interval, must_exist=False)

    def _wait(
        self,
        task_id: str,
        timeout: float | None,
        interval: float | None,
        on_interval: Callable[[], object] | None,
        *,
        must_exist: bool,
    ) -> ResultMeta:
        waiter = ThreadWaiter(
            [task_id],
            checked_timeout(timeout),
            interval=interval,
            on_interval=on_interval,
            must_exist=must_exist,
            hint=self._hint,
        )
        with closing(self._results(waiter)) as metas:
            return next(metas)

    def _results(self, waiter: ThreadWaiter) -> Generator[ResultMeta, None, None]:
        metas = self._hub.results(waiter)
        return observed_wait(metas, self._hooks) if self._hooks else metas

    def as_completed(
        self,
        task_ids: Iterable[str],
        *,
        timeout: float | None = None,
        interval: float | None = None,
        on_interval: Callable[[], object] | None = None,
        updates: bool = False,
    ) -> Generator[ResultMeta, None, None]:
        """
        Iterate over the records of *task_ids* as they become ready.

        Raises `WaitTimeoutError`, which names the rest, *timeout* seconds after the start.

        Args:
            interval: seconds between calls of *on_interval*, half a second by default.
            on_interval: called again and again while waiting. An exception from it ends the wait.
            updates: also yield the unready records of the tasks, as they change.
        """
        waiter = ThreadWaiter(
            [checked_id(task_id) for task_id in task_ids],
            checked_timeout(timeout),
            interval=interval,
            on_interval=on_interval,
            updates=updates,
            hint=self._hint,
        )
        return self._results(waiter)

    def _updates(self, task_id: str, timeout: float | None) -> Generator[ResultMeta, None, None]:
        return self.as_completed([task_id], timeout=timeout, updates=True)

    # -- handles, groups, and the end --------------------------------------------------------

    @overload
    def AsyncResult(self, task_id: str, type: type[T]) -> handles.AsyncResult[T]: ...
    @overload
    def AsyncResult(self, task_id: str, type: object = None) -> handles.AsyncResult[Any]: ...
    def AsyncResult(  # noqa: N802 - the field's name
        self,
        task_id: str,
        type: object = None,  # noqa: A002 - a good name
    ) -> handles.AsyncResult[Any]:
        """
        Return a handle on one task. No I/O.

        Args:
            type: the type of the value, such as a dataclass or ``list[Report]``. The value is checked and
                converted when it is read, or `ResultTypeError` is raised.
        """
        return handles.AsyncResult(self, task_id, type)

    @overload
    def ResultSet(
        self, task_ids: Iterable[handles.AsyncResult[T]], group_id: str | None = None
    ) -> resultsets.ResultSet[T]: ...
    @overload
    def ResultSet(
        self, task_ids: Iterable[str | handles.AsyncResult[Any]] = (), group_id: str | None = None
    ) -> resultsets.ResultSet[Any]: ...
    def ResultSet(  # noqa: N802 - the field's name
        self, task_ids: Iterable[str | handles.AsyncResult[Any]] = (), group_id: str | None = None
    ) -> resultsets.ResultSet[Any]:
        """Return handles on several tasks. No I/O."""
        return resultsets.ResultSet(self, task_ids, group_id)

    def save_group(
        self, group_id: str, task_ids: Iterable[str], *, expires: Expires | Default = DEFAULT
    ) -> None:
        """Keep *task_ids* under *group_id*, for `restore_group`. The last save wins."""
        self._writer.check_writable()
        ids = [checked_id(task_id) for task_id in task_ids]
        seconds = self._writer.lifetime(expires)
        self.backend.put_group(checked_id(group_id), ids, expires=seconds)

    def restore_group(self, group_id: str) -> resultsets.ResultSet[Any]:
        """
        Return the tasks that were saved under *group_id*, here, elsewhere, or by Celery.

        Raises `UnknownTaskError` where there is no such group.
        """
        task_ids = self.backend.get_group(checked_id(group_id))
        if task_ids is None:
            raise UnknownTaskError(group_id, hint=self._hint())
        return resultsets.ResultSet(self, task_ids, group_id)

    def delete_group(self, group_id: str) -> bool:
        """Delete a saved group, not its tasks' records; `False` if there was none."""
        self._writer.check_writable()
        return self.backend.delete_group(checked_id(group_id))

    def close(self) -> None:
        """Break all waits and give up connections. Idempotent; a later call opens new ones."""
        self._hub.close()
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _end_lost(backend: Backend[Any], writer: Writer, observed: ResultMeta) -> ResultMeta | None:
    """
    Replace the record of a lost worker by a failure and return the new record; `None` if another writer
    replaced it first.
    """
    meta = writer.lost(observed)
    if writer.leaves(observed):
        return meta
    try:
        written = backend.put(
            meta.task_id, meta, unless=writer.protect, if_match=observed, expires=writer.expires
        )
    except BackendUnavailableError:
        return None  # nothing is certain while the store is away
    except (BackendError, SerializationError):
        return meta  # who may not write still tells its waiters
    return meta if written else None


def _for_threads(backend: Backend[Any] | aio.Backend[Any]) -> Backend[Any]:
    """Return *backend*, or a synchronous one that drives it."""
    if isinstance(backend, Backend):
        return backend
    from .._backends.asyncio_bridge import on_loop  # noqa: PLC0415 - imports asyncio

    return on_loop(backend)
