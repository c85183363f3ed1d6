"""
`Results` for asyncio, see `coatcheck._results.results`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast, overload

from .._backends import backend as sync
from .._backends import records
from .._backends.asyncio_backend import Backend, KeyValueBackend
from .._backends.asyncio_records import Records
from .._backends.bridge import ThreadedBackend
from .._backends.portions import Portions
from .._coding.codec import Codec
from .._record.documents import Fields, checked_id
from .._record.meta import ResultMeta
from .._runtime.loops import PerLoop
from .._settings.durations import Expires, checked_heartbeat, checked_timeout
from .._settings.options import DEFAULT, Default, Options
from .._waiting.asyncio_hub import Hub, TaskWaiter
from ..errors import (
    BackendError,
    BackendUnavailableError,
    SerializationError,
    UnknownTaskError,
)
from . import asyncio_handles as handles
from . import asyncio_resultsets as resultsets
from .asyncio_changes import Changes
from .asyncio_noticing import Notices
from .asyncio_observed import ObservedBackend, observed_wait
from .asyncio_once import Once
from .asyncio_revoking import Revoking
from .asyncio_running import RunningTask
from .asyncio_submitting import Submitting
from .writing import Writer

T = TypeVar("T")


class Results(Notices, Changes, Once, Revoking, Submitting):
    """
    As `coatcheck.Results`, with coroutines. Serves any number of event loops.

    Args:
        backend: where records are kept; a sync backend runs in threads.
        name: the text in `repr()`, such as the URL without its secrets.
        options: see `coatcheck.Options`.
    """

    backend: Backend[ResultMeta]

    def __init__(
        self,
        backend: Backend[Any] | sync.Backend[Any],
        *,
        name: str = "",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(name, options)
        self._portions = Portions(spread=backend.spread)
        self._lifted = lift(backend, self._codec, key_prefix=self._key_prefix)
        observed = ObservedBackend(self._lifted, self._hooks) if self._hooks else self._lifted
        self.backend = observed
        on_lost = partial(_end_lost, self.backend, self._writer)
        # No method of this object, see `coatcheck.Results`.
        make = partial(
            Hub,
            self._lifted,
            portions=self._portions,
            safety_look=self._safety_look,
            operation_timeout=self._operation_timeout,
            on_lost=on_lost,
        )
        self._hubs = PerLoop(make, Hub.close)

    def running(
        self,
        task_id: str,
        *,
        expires: Expires | Default = DEFAULT,
        heartbeat: float | None = None,
        **fields: Unpack[Fields],
    ) -> RunningTask:
        """See `coatcheck.Results.running`."""
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
    ) -> Coroutine[Any, Any, ResultMeta]:
        """See `coatcheck.Results.wait_for`."""
        # Not a coroutine of its own, which is memory where ten thousand wait.
        return self._wait(checked_id(task_id), timeout, interval, on_interval, must_exist=False)

    async def _wait(
        self,
        task_id: str,
        timeout: float | None,
        interval: float | None,
        on_interval: Callable[[], object] | None,
        *,
        must_exist: bool,
    ) -> ResultMeta:
        waiter = TaskWaiter(
            [task_id],
            checked_timeout(timeout),
            interval=interval,
            on_interval=on_interval,
            must_exist=must_exist,
            hint=self._hint,
        )
        if self._hooks:
            async with aclosing(self._results(waiter)) as metas:
                return await anext(metas)
        # By way of the generator a wait takes 1.25 times the CPU time and 500 bytes more, see
        # tests/bench/fast_paths.py.
        watch = self._hubs.get().join(waiter)
        try:
            while (seconds := watch.next_pause(waiter)) is not None:
                await waiter.pause(seconds, watch.alarms)
            return cast("ResultMeta", waiter.take())
        finally:
            watch.leave(waiter)

    def _results(self, waiter: TaskWaiter) -> AsyncGenerator[ResultMeta, None]:
        metas = self._hubs.get().results(waiter)
        return observed_wait(metas, self._hooks) if self._hooks else metas

    def as_completed(
        self,
        task_ids: Iterable[str],
        *,
        timeout: float | None = None,
        interval: float | None = None,
        on_interval: Callable[[], object] | None = None,
        updates: bool = False,
    ) -> AsyncGenerator[ResultMeta, None]:
        """See `coatcheck.Results.as_completed`."""
        waiter = TaskWaiter(
            [checked_id(task_id) for task_id in task_ids],
            checked_timeout(timeout),
            interval=interval,
            on_interval=on_interval,
            updates=updates,
            hint=self._hint,
        )
        return self._results(waiter)

    def _updates(self, task_id: str, timeout: float | None) -> AsyncGenerator[ResultMeta, None]:
        return self.as_completed([task_id], timeout=timeout, updates=True)

    # -- handles, and the end -------------------------------------------------------------

    @overload
    def AsyncResult(self, task_id: str, type: type[T]) -> handles.AsyncResult[T]: ...
    @overload
    def AsyncResult(self, task_id: str, type: object = None) -> handles.AsyncResult[Any]: ...
    def AsyncResult(  # noqa: N802 - the field's name
        self,
        task_id: str,
        type: object = None,  # noqa: A002 - a good name
    ) -> handles.AsyncResult[Any]:
        """See `coatcheck.Results.AsyncResult`."""
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
        """See `coatcheck.Results.ResultSet`."""
        return resultsets.ResultSet(self, task_ids, group_id)

    async def save_group(
        self, group_id: str, task_ids: Iterable[str], *, expires: Expires | Default = DEFAULT
    ) -> None:
        """See `coatcheck.Results.save_group`."""
        self._writer.check_writable()
        ids = [checked_id(task_id) for task_id in task_ids]
        seconds = self._writer.lifetime(expires)
        await self.backend.put_group(checked_id(group_id), ids, expires=seconds)

    async def restore_group(self, group_id: str) -> resultsets.ResultSet[Any]:
        """See `coatcheck.Results.restore_group`."""
        task_ids = await self.backend.get_group(checked_id(group_id))
        if task_ids is None:
            raise UnknownTaskError(group_id, hint=self._hint())
        return resultsets.ResultSet(self, task_ids, group_id)

    async def delete_group(self, group_id: str) -> bool:
        """See `coatcheck.Results.delete_group`."""
        self._writer.check_writable()
        return await self.backend.delete_group(checked_id(group_id))

    async def close(self) -> None:
        """See `coatcheck.Results.close`."""
        hub = self._hubs.pop()
        if hub is not None:
            await hub.close()
        await self.backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def lift(
    backend: Backend[Any] | sync.Backend[Any], codec: Codec, *, key_prefix: str
) -> Backend[ResultMeta]:
    """Return *backend* as one for asyncio that speaks metas."""
    if isinstance(backend, sync.Backend):
        return ThreadedBackend(records.lift(backend, codec, key_prefix=key_prefix))
    if isinstance(backend, KeyValueBackend):
        return Records(backend, codec, key_prefix=key_prefix)
    records.check_no_prefix(backend, key_prefix)
    backend.codec = codec
    return backend


async def _end_lost(
    backend: Backend[Any], writer: Writer, observed: ResultMeta
) -> ResultMeta | None:
    """See `coatcheck._results.results`."""
    meta = writer.lost(observed)
    if writer.leaves(observed):
        return meta
    try:
        written = await backend.put(
            meta.task_id, meta, unless=writer.protect, if_match=observed, expires=writer.expires
        )
    except BackendUnavailableError:
        return None  # nothing is certain while the store is away
    except (BackendError, SerializationError):
        return meta  # who may not write still tells its waiters
    return meta if written else None
