"""
`Results`: the result backend of an application, for synchronous code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack, overload

from .. import states
from .._backends.backend import (
    ANY,
    DEFAULT_KEY_PREFIX,
    Anything,
    Backend,
    BaseBackend,
    Capability,
    Unless,
)
from .._backends.portions import BATCH, Portions, Reading
from .._backends.records import lift
from .._coding import keys
from .._coding.codec import DEFAULT_ACCEPT, Codec
from .._coding.compression import MAX_INFLATED
from .._coding.keys import Keys
from .._coding.limits import MAX_VALUES
from .._coding.sealing import DEFAULT_COMPRESS_OVER
from .._coding.serializers import Serializer
from .._record.documents import AllFields, Fields, checked_id
from .._record.meta import ResultMeta
from .._waiting.heartbeats import CHECK_PATIENCE, LOST_WITHIN, interval_of
from .._waiting.hub import Hub, ThreadWaiter
from ..errors import (
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    EncodeError,
    PartlyUnavailableError,
    ResultTooLargeError,
    SerializationError,
    UnknownTaskError,
)
from . import handles, resultsets
from .hooks import hooks_of
from .misuse import HoldsConnections
from .observed import ObservedBackend, observed_wait
from .running import RunningTask
from .writing import (
    DEFAULT,
    DEFAULT_EXPIRES,
    Default,
    Expires,
    Writer,
    checked_heartbeat,
    checked_timeout,
)

if TYPE_CHECKING:
    from .._backends import asyncio_backend as aio

T = TypeVar("T")

DEFAULT_SAFETY_LOOK: Final = 5.0
DEFAULT_OPERATION_TIMEOUT: Final = 5.0

_logger = logging.getLogger("coatcheck")

#: Keys: names and secrets, or where they are.
KeysGiven = Mapping[str, str | bytes] | Iterable[str | tuple[str, str | bytes]] | str | Keys | None


def _keys(option: str, given: KeysGiven) -> Keys | None:
    try:
        return keys.read(given)
    except ValueError as error:
        raise ConfigurationError(f"the option {option!r}: {error}") from None


class ResultsBase(HoldsConnections):
    """
    The options that the synchronous and the asyncio `Results` share. No I/O.

    Args:
        expires: how long records live: seconds, a timedelta, or `None` to keep them.
        serializer: writes values: "json", "msgpack", "pickle", or the name of a plugin's.
        accept: the names of the serializers that may be read.
        strict: refuse to store values that would be read as another type, tuples included.
        unsafe_pickle: write pickle without a signature. Anyone who can write to the store can then run code
            in its readers.
        trusted_exceptions: the application's exception classes that `get()` may raise:
            classes, "package.module.Class", or "package." for all below it. Only modules that are
            already imported are searched.
        compression: compress records: "zstd", "zlib", or "celery" for a form that Celery reads.
        compress_over: records larger than this many bytes are compressed.
        max_inflated: the most bytes that a compressed record may have after decompression. 32 times its
            stored size is always allowed.
        max_values: the most values in a record: items of lists, and values of mappings.
        signing_keys: sign records; a mapping of names to secrets, "env:NAME" or "file:/path". The
            first key signs, all of them verify. Records that none of them signed are refused.
        encryption_keys: encrypt records. Give the keys in the same way.
        accept_unsigned: also read unsigned records although keys are configured.
        protect: the states whose record is never replaced; all ready ones by default.
        key_prefix: the prefix of keys in key-value stores.
        safety_look: seconds between looks at a task whose backend pushes.
        operation_timeout: how long a wait with `timeout=0` waits for the store's answer, in seconds.
            Give the number that the backend has.
        read_only: refuse to write anything.
        plugins: objects with hooks that observe operations, see `coatcheck._results.hooks.Spec`.
        name: the text in `repr()`, such as the URL without its secrets.
    """

    #: Where records are kept.
    backend: BaseBackend[ResultMeta]

    def __init__(
        self,
        *,
        expires: Expires = DEFAULT_EXPIRES,
        serializer: str | Serializer = "json",
        accept: Iterable[str] = DEFAULT_ACCEPT,
        strict: bool = False,
        unsafe_pickle: bool = False,
        trusted_exceptions: Iterable[str | type[Exception]] = (),
        compression: str | None = None,
        compress_over: int = DEFAULT_COMPRESS_OVER,
        max_inflated: int = MAX_INFLATED,
        max_values: int = MAX_VALUES,
        signing_keys: KeysGiven = None,
        encryption_keys: KeysGiven = None,
        accept_unsigned: bool = False,
        protect: Iterable[str] = states.READY_STATES,
        key_prefix: str = DEFAULT_KEY_PREFIX,
        safety_look: float = DEFAULT_SAFETY_LOOK,
        operation_timeout: float = DEFAULT_OPERATION_TIMEOUT,
        read_only: bool = False,
        plugins: Iterable[object] = (),
        name: str = "",
    ) -> None:
        codec = Codec(
            serializer,
            accept=accept,
            strict=strict,
            unsafe_pickle=unsafe_pickle,
            trusted_exceptions=trusted_exceptions,
            compression=compression,
            compress_over=compress_over,
            max_inflated=max_inflated,
            max_values=max_values,
            signing_keys=_keys("signing_keys", signing_keys),
            encryption_keys=_keys("encryption_keys", encryption_keys),
            accept_unsigned=accept_unsigned,
        )
        self._codec = codec
        self._writer = Writer(codec, expires=expires, protect=protect, read_only=read_only)
        self._key_prefix = key_prefix
        self._safety_look = safety_look
        self._operation_timeout = operation_timeout
        self._hooks = hooks_of(plugins)
        self._name = name
        self._told_of_loss = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"

    @property
    def expires(self) -> float | None:
        """
        How long records live by default, in seconds; `None` keeps them.
        """
        return self._writer.expires

    @property
    def protect(self) -> frozenset[str]:
        """
        The states whose record is never replaced.
        """
        return self._writer.protect

    @property
    def capabilities(self) -> Capability:
        """
        What the store can do.
        """
        return self.backend.capabilities

    @property
    def trouble(self) -> Exception | None:
        """
        The error for which an operation is being repeated now; `None` if there is none.
        """
        return self.backend.trouble

    @property
    def polling(self) -> Exception | None:
        """
        The error for which waits poll although the store can wake them; `None` while it wakes them, and
        before the first wait. In asyncio it is that of the running loop.
        """
        return self.backend.polling

    def _lost_to_first(self, meta: ResultMeta) -> None:
        """
        Log, once, that *meta* was not stored: many callers ignore what a store returns.
        """
        if meta.ready and not self._told_of_loss:
            self._told_of_loss = True
            _logger.warning(
                "the %s of task %r was not stored, because the task is over already and its first "
                "record stays: forget() the task first, or use another id (said once)",
                meta.status,
                meta.task_id,
            )

    def _hint(self) -> str:
        """
        Return a likely reason why nothing is stored.
        """
        if Capability.SHARED in self.capabilities:
            return ""
        return (
            f"{self._name or type(self.backend).__name__} is seen by one process only: if another "
            "process stores the result, use a store that both can reach"
        )

    def _draft(
        self,
        task_id: str,
        state: str,
        result: Any,
        traceback: str | None,
        expires: float | None,
        fields: AllFields,
    ) -> ResultMeta:
        self._writer.check_writable()
        return self._writer.record(
            task_id, state, result, traceback=traceback, expires=expires, fields=fields
        )

    def _substitute(
        self, meta: ResultMeta, error: EncodeError | ResultTooLargeError, expires: float | None
    ) -> tuple[ResultMeta | None, bool]:
        """
        Return the meta to store in place of *meta*, and whether the caller must hear of *error*.
        """
        if not meta.ready:
            return None, True
        shortened = meta.failure is not None
        return self._writer.substitute(meta, error, expires), not shortened


class Results(ResultsBase):
    """
    Stores results, and reads and awaits them. Shared freely between threads; survives a fork.

    Args:
        backend: where records are kept; an asyncio backend runs on a loop in a thread.
        options: see `ResultsBase`.
    """

    backend: Backend[ResultMeta]

    def __init__(self, backend: Backend[Any] | aio.Backend[Any], **options: Any) -> None:
        super().__init__(**options)
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

    # -- writing --------------------------------------------------------------------------

    def store_result(
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
        Store a record; `False` if a ready one was there already and stays.

        In FAILURE and REVOKED *result* is the exception. A value that cannot be stored becomes
        a small FAILURE record, and raises `EncodeError` or `ResultTooLargeError`; of an unready
        state nothing is stored.

        Args:
            expires: how long the record lives; every write starts anew.
            protect: the states that may not be replaced, for this call.
            fields: see `AllFields`.
        """
        seconds = self._writer.lifetime(expires)
        meta = self._draft(task_id, state, result, traceback, seconds, fields)
        won = self._put(meta, self._writer.unless(protect), seconds)
        if not won and protect is None:
            self._lost_to_first(meta)
        return won

    def _put(self, meta: ResultMeta, unless: Unless, expires: float | None) -> bool:
        try:
            return self.backend.put(meta.task_id, meta, unless=unless, expires=expires)
        except (EncodeError, ResultTooLargeError) as error:
            substitute, raises = self._substitute(meta, error, expires)
            won = substitute is not None and self.backend.put(
                meta.task_id, substitute, unless=unless, expires=expires
            )
            if raises:
                raise
            return won

    def store_many(
        self,
        values: Mapping[str, Any] | Iterable[tuple[str, Any]],
        *,
        expires: Expires | Default = DEFAULT,
    ) -> dict[str, bool]:
        """
        Store many values as SUCCESS, in few round trips; say of each whether it is the record.

        Where some values cannot be stored, the others are, and the first error is raised after
        all is done.
        """
        seconds = self._writer.lifetime(expires)
        pairs = values.items() if isinstance(values, Mapping) else values
        metas = [self._draft(k, states.SUCCESS, v, None, seconds, {}) for k, v in pairs]
        won: dict[str, bool] = {}
        errors: list[Exception] = []
        for start in range(0, len(metas), BATCH):
            self._put_batch(metas[start : start + BATCH], seconds, won, errors)
        if errors:
            raise errors[0]
        return won

    def _put_batch(
        self,
        metas: list[ResultMeta],
        expires: float | None,
        won: dict[str, bool],
        errors: list[Exception],
    ) -> None:
        unless = self._writer.protect
        try:
            answers = self.backend.put_many(
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
                    first = self._put(meta, unless, expires)
                    won[meta.task_id] = won.get(meta.task_id, False) or first
                except (EncodeError, ResultTooLargeError) as error:
                    errors.append(error)

    def mark_as_started(
        self,
        task_id: str,
        meta: Any = None,
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """
        Store STARTED, with *meta* as its info.
        """
        return self.store_result(task_id, meta, states.STARTED, expires=expires, **fields)

    def mark_as_done(
        self,
        task_id: str,
        result: Any = None,
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """
        Store SUCCESS, with *result* as its value.
        """
        return self.store_result(task_id, result, expires=expires, **fields)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        *,
        traceback: str | None = None,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """
        Store FAILURE, with all that can be kept of *exc*; *traceback* is made of it if not given.
        """
        return self.store_result(
            task_id, exc, states.FAILURE, traceback=traceback, expires=expires, **fields
        )

    def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException | None = None,
        *,
        traceback: str | None = None,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """
        Store RETRY, with the exception that is the reason.
        """
        return self.store_result(
            task_id, exc, states.RETRY, traceback=traceback, expires=expires, **fields
        )

    def mark_as_revoked(
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
        return self.store_result(task_id, reason, states.REVOKED, expires=expires, **fields)

    def update_state(
        self,
        task_id: str,
        state: str,
        meta: Any = None,
        *,
        expires: Expires | Default = DEFAULT,
        **fields: Unpack[Fields],
    ) -> bool:
        """
        Store any state, with *meta* as its info. The last unready write wins.
        """
        return self.store_result(task_id, meta, state, expires=expires, **fields)

    def expect(self, task_id: str, *, expires: Expires | Default = DEFAULT) -> bool:
        """
        Record PENDING if nothing is there, so that the task is known; `False` if it was.
        """
        return self.store_result(task_id, None, states.PENDING, expires=expires, protect=ANY)

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

    def _replace(
        self,
        task_id: str,
        observed: ResultMeta | None,
        result: Any,
        state: str,
        *,
        expires: Expires | Default,
        fields: AllFields,
    ) -> bool:
        """
        Store an unready record over exactly the one *observed*, or where there was none, over none.
        """
        seconds = self._writer.lifetime(expires)
        meta = self._draft(task_id, state, result, None, seconds, fields)
        unless = ANY if observed is None else self._writer.protect
        return self.backend.put(task_id, meta, unless=unless, if_match=observed, expires=seconds)

    def forget(self, task_id: str) -> bool:
        """
        Delete the record; `False` if there was none. The id is new after that.
        """
        return self.forget_many([task_id]) > 0

    def forget_many(self, task_ids: Iterable[str]) -> int:
        """
        Delete many records; return how many there were.
        """
        self._writer.check_writable()
        return self.backend.delete_many([checked_id(task_id) for task_id in task_ids])

    def purge(self) -> int:
        """
        Delete expired records that the store has not removed itself; return how many.
        """
        self._writer.check_writable()
        return self.backend.purge()

    # -- reading --------------------------------------------------------------------------

    def get_task_meta(self, task_id: str) -> ResultMeta:
        """
        Return a snapshot of the record. `meta.known` is `False` if nothing is stored.
        """
        found = self.backend.get_many([checked_id(task_id)])
        return found.get(task_id) or self._codec.unknown(task_id)

    def get_many(self, task_ids: Iterable[str]) -> dict[str, ResultMeta]:
        """
        Return a snapshot for each id, in their order, in few round trips.
        """
        ids = [checked_id(task_id) for task_id in task_ids]
        found: dict[str, ResultMeta] = {}
        for _, metas in self._read(dict.fromkeys(ids)):
            found.update(metas)
        return {id_: found.get(id_) or self._codec.unknown(id_) for id_ in ids}

    def _snapshots(self, ids: Iterable[str]) -> Iterator[ResultMeta]:
        """
        Iterate over a snapshot for each of *ids*. Holds a bounded number of them at a time.
        """
        for portion, metas in self._read(ids):
            for id_ in portion:
                yield metas.get(id_) or self._codec.unknown(id_)

    def _read(self, ids: Iterable[str]) -> Iterator[tuple[list[str], dict[str, ResultMeta]]]:
        """
        Iterate over the reads of *ids*: the ids of each read, and the records found.
        """
        reading = Reading(self._portions, ids)
        while portion := reading.next():
            try:
                metas = self.backend.get_many(portion)
            except PartlyUnavailableError:
                raise
            except BackendUnavailableError as error:
                reading.failed(error)
            else:
                reading.came(metas.values())
                yield portion, metas

    def exists(self, task_id: str) -> bool:
        """
        Whether anything is stored for the task.
        """
        return self.get_task_meta(task_id).known

    def get_state(self, task_id: str) -> str:
        """
        Return the state; PENDING where nothing is stored.
        """
        return self.get_task_meta(task_id).status

    def get_result(self, task_id: str) -> Any:
        """
        Return the value, the info of an unready task, or the exception of a failed one.
        """
        return self.get_task_meta(task_id).result

    def get_traceback(self, task_id: str) -> str | None:
        """
        Return the formatted traceback of a failed task.
        """
        return self.get_task_meta(task_id).traceback

    def scan(self, *, state: str | None = None) -> Iterator[ResultMeta]:
        """
        Iterate over all records, or those in *state*, in no order. Needs the capability SCAN.
        """
        batch: list[str] = []
        backend = self.backend
        for task_id in backend.scan() if state is None else backend.scan_state(state):
            batch.append(task_id)
            if len(batch) == BATCH:
                yield from self._scanned(batch, state)
                batch = []
        yield from self._scanned(batch, state)

    def _scanned(self, batch: list[str], state: str | None) -> Iterator[ResultMeta]:
        # Not checked as ids: foreign keys may have made them.
        for _, metas in self._read(batch):
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
    ) -> ResultMeta:
        """
        Wait until the task is ready and return its record; failures are not raised.

        Args:
            timeout: seconds; `None` waits, 0 looks once. Then `WaitTimeoutError` is raised.
            interval: seconds between calls of *on_interval*, half a second by default.
            on_interval: called again and again while waiting. An exception from it ends the wait.
        """
        return self._wait(task_id, timeout, interval, on_interval, must_exist=False)

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
            [checked_id(task_id)],
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

    def check_alive(self, task_id: str) -> bool | None:
        """
        Find out whether the worker of a running task is alive, if nobody waits for the task.

        Reads never notice that a worker was lost: they say STARTED for as long as the record lives.
        This call waits for the next sign of life. If none comes for three intervals of the task's
        heartbeat, it records FAILURE with `WorkerLostError`, as a wait does.

        Returns:
            `True` after a sign of life, or any other change; `False` if the task is over, or is now
            that its worker was found lost; `None` if nobody can tell: nothing is stored, or the
            task runs without a heartbeat.
        """
        meta = self.get_task_meta(task_id)
        every = interval_of(meta.heartbeat)
        if meta.ready or every is None:
            return False if meta.ready else None
        waiter = ThreadWaiter(
            [task_id], LOST_WITHIN * every + CHECK_PATIENCE, beats=True, hint=self._hint
        )
        with closing(self._hub.results(waiter)) as changes:
            return next(not m.ready for m in changes if m.ready or m.heartbeat != meta.heartbeat)

    def _updates(self, task_id: str, timeout: float | None) -> Generator[ResultMeta, None, None]:
        return self.as_completed([task_id], timeout=timeout, updates=True)

    # -- handles, groups, and the end --------------------------------------------------------

    def AsyncResult(self, task_id: str) -> handles.AsyncResult[Any]:  # noqa: N802 - the field's name
        """
        Return a handle on one task. No I/O.
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
        Return handles on several tasks. No I/O.
        """
        return resultsets.ResultSet(self, task_ids, group_id)

    def save_group(
        self, group_id: str, task_ids: Iterable[str], *, expires: Expires | Default = DEFAULT
    ) -> None:
        """
        Keep *task_ids* under *group_id*, for `restore_group`. The last save wins.
        """
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
        """
        Delete a saved group, not its tasks' records; `False` if there was none.
        """
        self._writer.check_writable()
        return self.backend.delete_group(checked_id(group_id))

    def close(self) -> None:
        """
        Break all waits and give up connections. Idempotent; a later call opens new ones.
        """
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
    if writer.read_only:
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
    """
    Return *backend*, or what serves synchronous code by it.
    """
    if isinstance(backend, Backend):
        return backend
    from .._backends.asyncio_bridge import on_loop  # noqa: PLC0415 - imports asyncio

    return on_loop(backend)
