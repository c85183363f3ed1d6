"""
`Results` for asyncio, see `coatcheck._results.results`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast, overload

from .. import states
from .._backends import backend as sync
from .._backends import records
from .._backends.asyncio_backend import Backend, KeyValueBackend
from .._backends.asyncio_records import Records
from .._backends.backend import ANY, Anything, Unless
from .._backends.bridge import ThreadedBackend
from .._backends.portions import BATCH, Portions, Reading
from .._coding.codec import Codec
from .._record.documents import AllFields, Fields, checked_id
from .._record.meta import ResultMeta
from .._runtime.loops import PerLoop
from .._waiting.asyncio_hub import Hub, TaskWaiter
from .._waiting.heartbeats import CHECK_PATIENCE, LOST_WITHIN, interval_of
from ..errors import (
    BackendError,
    BackendUnavailableError,
    EncodeError,
    PartlyUnavailableError,
    ResultTooLargeError,
    SerializationError,
    UnknownTaskError,
)
from . import asyncio_handles as handles
from . import asyncio_resultsets as resultsets
from .asyncio_observed import ObservedBackend, observed_wait
from .asyncio_running import RunningTask
from .results import ResultsBase
from .writing import DEFAULT, Default, Expires, Writer, checked_heartbeat, checked_timeout

T = TypeVar("T")


class Results(ResultsBase):
    """
    As `coatcheck.Results`, with coroutines. Serves any number of event loops.

    Args:
        backend: where records are kept; a sync backend runs in threads.
        options: see `coatcheck._results.results.ResultsBase`.
    """

    backend: Backend[ResultMeta]

    def __init__(self, backend: Backend[Any] | sync.Backend[Any], **options: Any) -> None:
        super().__init__(**options)
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

    # -- writing --------------------------------------------------------------------------

    async def store_result(
        self,
        task_id: str,
        result: Any = None,
        state: str = states.SUCCESS,
        *,
        traceback: str | None = None,
        expires: Expires | Default = DEFAULT,
        protect: Iterable[str] | Anything | None = None,
        **fields: Unpack[AllFields],
    ) -> bool:
        """
        See `coatcheck.Results.store_result`.
        """
        seconds = self._writer.lifetime(expires)
        meta = self._draft(task_id, state, result, traceback, seconds, fields)
        won = await self._put(meta, self._writer.unless(protect), seconds)
        if not won and protect is None:
            self._lost_to_first(meta)
        return won

    async def _put(self, meta: ResultMeta, unless: Unless, expires: float | None) -> bool:
        try:
            return await self.backend.put(meta.task_id, meta, unless=unless, expires=expires)
        except (EncodeError, ResultTooLargeError) as error:
            substitute, raises = self._substitute(meta, error, expires)
            won = substitute is not None and await self.backend.put(
                meta.task_id, substitute, unless=unless, expires=expires
            )
            if raises:
                raise
            return won

    async def store_many(
        self,
        values: Mapping[str, Any] | Iterable[tuple[str, Any]],
        *,
        expires: Expires | Default = DEFAULT,
    ) -> dict[str, bool]:
        """
        See `coatcheck.Results.store_many`.
        """
        seconds = self._writer.lifetime(expires)
        pairs = values.items() if isinstance(values, Mapping) else values
        metas = [self._draft(k, states.SUCCESS, v, None, seconds, {}) for k, v in pairs]
        won: dict[str, bool] = {}
        errors: list[Exception] = []
        for start in range(0, len(metas), BATCH):
            await self._put_batch(metas[start : start + BATCH], seconds, won, errors)
        if errors:
            raise errors[0]
        return won

    async def _put_batch(
        self,
        metas: list[ResultMeta],
        expires: float | None,
        won: dict[str, bool],
        errors: list[Exception],
    ) -> None:
        unless = self._writer.protect
        try:
            answers = await self.backend.put_many(
                [(meta.task_id, meta) for meta in metas], unless=unless, expires=expires
            )
            for meta, first in zip(metas, answers, strict=True):
                # An id that comes twice in one call is won by its first value.
                won[meta.task_id] = won.get(meta.task_id, False) or first
                if not first:
                    self._lost_to_first(meta)
        except (EncodeError, ResultTooLargeError):
            # Those that are stored already recognise themselves.
            for meta in metas:
                try:
                    first = await self._put(meta, unless, expires)
                    won[meta.task_id] = won.get(meta.task_id, False) or first
                except (EncodeError, ResultTooLargeError) as error:
                    errors.append(error)

    async def mark_as_started(
        self,
        task_id: str,
        meta: Any = None,
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """
        See `coatcheck.Results.mark_as_started`.
        """
        return await self.store_result(task_id, meta, states.STARTED, expires=expires, **fields)

    async def mark_as_done(
        self,
        task_id: str,
        result: Any = None,
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """
        See `coatcheck.Results.mark_as_done`.
        """
        return await self.store_result(task_id, result, expires=expires, **fields)

    async def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        *,
        traceback: str | None = None,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """
        See `coatcheck.Results.mark_as_failure`.
        """
        return await self.store_result(
            task_id, exc, states.FAILURE, traceback=traceback, expires=expires, **fields
        )

    async def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException | None = None,
        *,
        traceback: str | None = None,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """
        See `coatcheck.Results.mark_as_retry`.
        """
        return await self.store_result(
            task_id, exc, states.RETRY, traceback=traceback, expires=expires, **fields
        )

    async def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "revoked",
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """
        Store REVOKED. To stop the running task is the queue's business.
        """
        return await self.store_result(task_id, reason, states.REVOKED, expires=expires, **fields)

    async def update_state(
        self,
        task_id: str,
        state: str,
        meta: Any = None,
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """
        See `coatcheck.Results.update_state`.
        """
        return await self.store_result(task_id, meta, state, expires=expires, **fields)

    async def expect(self, task_id: str, *, expires: Expires | Default = DEFAULT) -> bool:
        """
        See `coatcheck.Results.expect`.
        """
        return await self.store_result(task_id, None, states.PENDING, expires=expires, protect=ANY)

    def running(
        self,
        task_id: str,
        *,
        expires: Expires | Default = DEFAULT,
        heartbeat: float | None = None,
        **fields: Unpack[Fields],
    ) -> RunningTask:
        """
        See `coatcheck.Results.running`.
        """
        return RunningTask(
            self,
            checked_id(task_id),
            expires=expires,
            heartbeat=checked_heartbeat(heartbeat),
            fields=fields,
        )

    async def _replace(
        self,
        task_id: str,
        observed: ResultMeta | None,
        result: Any,
        state: str,
        *,
        expires: Expires | Default,
        fields: AllFields,
    ) -> bool:
        seconds = self._writer.lifetime(expires)
        meta = self._draft(task_id, state, result, None, seconds, fields)
        unless = ANY if observed is None else self._writer.protect
        return await self.backend.put(
            task_id, meta, unless=unless, if_match=observed, expires=seconds
        )

    async def forget(self, task_id: str) -> bool:
        """
        See `coatcheck.Results.forget`.
        """
        return await self.forget_many([task_id]) > 0

    async def forget_many(self, task_ids: Iterable[str]) -> int:
        """
        See `coatcheck.Results.forget_many`.
        """
        self._writer.check_writable()
        return await self.backend.delete_many([checked_id(task_id) for task_id in task_ids])

    async def purge(self) -> int:
        """
        See `coatcheck.Results.purge`.
        """
        self._writer.check_writable()
        return await self.backend.purge()

    # -- reading --------------------------------------------------------------------------

    async def get_task_meta(self, task_id: str) -> ResultMeta:
        """
        See `coatcheck.Results.get_task_meta`.
        """
        found = await self.backend.get_many([checked_id(task_id)])
        return found.get(task_id) or self._codec.unknown(task_id)

    async def get_many(self, task_ids: Iterable[str]) -> dict[str, ResultMeta]:
        """
        See `coatcheck.Results.get_many`.
        """
        ids = [checked_id(task_id) for task_id in task_ids]
        found: dict[str, ResultMeta] = {}
        async with aclosing(self._read(dict.fromkeys(ids))) as reads:
            async for _, metas in reads:
                found.update(metas)
        return {id_: found.get(id_) or self._codec.unknown(id_) for id_ in ids}

    async def _snapshots(self, ids: Iterable[str]) -> AsyncGenerator[ResultMeta, None]:
        """
        Iterate over a snapshot for each of *ids*. Holds a bounded number of them at a time.
        """
        async with aclosing(self._read(ids)) as reads:
            async for portion, metas in reads:
                for id_ in portion:
                    yield metas.get(id_) or self._codec.unknown(id_)

    async def _read(
        self, ids: Iterable[str]
    ) -> AsyncGenerator[tuple[list[str], dict[str, ResultMeta]], None]:
        """
        Iterate over the reads of *ids*: the ids of each read, and the records found.
        """
        reading = Reading(self._portions, ids)
        while portion := reading.next():
            try:
                metas = await self.backend.get_many(portion)
            except PartlyUnavailableError:
                raise
            except BackendUnavailableError as error:
                reading.failed(error)
            else:
                reading.came(metas.values())
                yield portion, metas

    async def exists(self, task_id: str) -> bool:
        """
        See `coatcheck.Results.exists`.
        """
        return (await self.get_task_meta(task_id)).known

    async def get_state(self, task_id: str) -> str:
        """
        See `coatcheck.Results.get_state`.
        """
        return (await self.get_task_meta(task_id)).status

    async def get_result(self, task_id: str) -> Any:
        """
        See `coatcheck.Results.get_result`.
        """
        return (await self.get_task_meta(task_id)).result

    async def get_traceback(self, task_id: str) -> str | None:
        """
        See `coatcheck.Results.get_traceback`.
        """
        return (await self.get_task_meta(task_id)).traceback

    async def scan(self, *, state: str | None = None) -> AsyncIterator[ResultMeta]:
        """
        See `coatcheck.Results.scan`.
        """
        batch: list[str] = []
        backend = self.backend
        async for task_id in backend.scan() if state is None else backend.scan_state(state):
            batch.append(task_id)
            if len(batch) == BATCH:
                async with aclosing(self._scanned(batch, state)) as metas:
                    async for meta in metas:
                        yield meta
                batch = []
        async with aclosing(self._scanned(batch, state)) as metas:
            async for meta in metas:
                yield meta

    async def _scanned(
        self, batch: list[str], state: str | None
    ) -> AsyncGenerator[ResultMeta, None]:
        # Not checked as ids: foreign keys may have made them.
        async with aclosing(self._read(batch)) as reads:
            async for _, metas in reads:
                for meta in metas.values():
                    if meta.task_id and state in (None, meta.status):
                        yield meta

    # -- waiting --------------------------------------------------------------------------

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> Coroutine[Any, Any, ResultMeta]:
        """
        See `coatcheck.Results.wait_for`.
        """
        # Not a coroutine of its own, which is memory where ten thousand wait.
        return self._wait(task_id, timeout, interval, on_interval, must_exist=False)

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
            [checked_id(task_id)],
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
        """
        See `coatcheck.Results.as_completed`.
        """
        waiter = TaskWaiter(
            [checked_id(task_id) for task_id in task_ids],
            checked_timeout(timeout),
            interval=interval,
            on_interval=on_interval,
            updates=updates,
            hint=self._hint,
        )
        return self._results(waiter)

    async def check_alive(self, task_id: str) -> bool | None:
        """
        See `coatcheck.Results.check_alive`.
        """
        meta = await self.get_task_meta(task_id)
        every = interval_of(meta.heartbeat)
        if meta.ready or every is None:
            return False if meta.ready else None
        waiter = TaskWaiter(
            [task_id], LOST_WITHIN * every + CHECK_PATIENCE, beats=True, hint=self._hint
        )
        async with aclosing(self._hubs.get().results(waiter)) as changes:
            return await anext(
                not m.ready async for m in changes if m.ready or m.heartbeat != meta.heartbeat
            )

    def _updates(self, task_id: str, timeout: float | None) -> AsyncGenerator[ResultMeta, None]:
        return self.as_completed([task_id], timeout=timeout, updates=True)

    # -- handles, and the end -------------------------------------------------------------

    def AsyncResult(self, task_id: str) -> handles.AsyncResult[Any]:  # noqa: N802 - the field's name
        """
        See `coatcheck.Results.AsyncResult`.
        """
        return handles.AsyncResult(self, task_id)

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
        """
        See `coatcheck.Results.ResultSet`.
        """
        return resultsets.ResultSet(self, task_ids, group_id)

    async def save_group(
        self, group_id: str, task_ids: Iterable[str], *, expires: Expires | Default = DEFAULT
    ) -> None:
        """
        See `coatcheck.Results.save_group`.
        """
        self._writer.check_writable()
        ids = [checked_id(task_id) for task_id in task_ids]
        seconds = self._writer.lifetime(expires)
        await self.backend.put_group(checked_id(group_id), ids, expires=seconds)

    async def restore_group(self, group_id: str) -> resultsets.ResultSet[Any]:
        """
        See `coatcheck.Results.restore_group`.
        """
        task_ids = await self.backend.get_group(checked_id(group_id))
        if task_ids is None:
            raise UnknownTaskError(group_id, hint=self._hint())
        return resultsets.ResultSet(self, task_ids, group_id)

    async def delete_group(self, group_id: str) -> bool:
        """
        See `coatcheck.Results.delete_group`.
        """
        self._writer.check_writable()
        return await self.backend.delete_group(checked_id(group_id))

    async def close(self) -> None:
        """
        See `coatcheck.Results.close`.
        """
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
    """
    Return *backend* as one for asyncio that speaks metas.
    """
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
    """
    See `coatcheck._results.results`.
    """
    meta = writer.lost(observed)
    if writer.read_only:
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
