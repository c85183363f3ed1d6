"""
The class that Celery makes of `result_backend`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeVar

from celery import current_app, maybe_signature, states
from celery.backends.base import Backend
from celery.exceptions import (
    BackendGetMetaError,
    BackendStoreError,
    ChordError,
    ImproperlyConfigured,
)
from celery.result import ResultSet, result_from_tuple
from celery.utils.functional import _regen
from celery.utils.log import get_logger
from kombu.utils.functional import LRUCache

import coatcheck
from coatcheck import Capability
from coatcheck.plugin import URL, celeryconfig, monotonic, transport_options

from .bodies import Errback, errbacks_of, members_of, untold
from .chords import Chord, Completion, body_id_of
from .records import celery_errors, id_of, meta_of, record_of
from .settings import patience_of, results_of
from .waiting import Meta, Waiting

T = TypeVar("T")

_logger = get_logger(__name__)
#: Seconds between the first two tries of a write, and between the later ones.
_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
#: How long at least a chord that does not end is remembered, in seconds, however short the lives of
#: results are: without its parts it would never end.
_CHORD_LIFE: Final = 7 * 86_400.0


class CoatcheckBackend(Waiting, Backend):
    """
    Keeps a Celery application's results where coatcheck's URL says, as Celery would keep them.

    One object serves all threads of a process, and survives its fork.

    Args:
        app: the application.
        url: what follows `coatcheck+` in `result_backend`, or `coatcheck://name` as it is.
    """

    thread_safe = True
    supports_failure_expires = True
    expires: float | None

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        self.thread_safe = True  # over what the setting says: else each thread had its own
        conf = app.conf
        try:
            policy = transport_options(conf).get("retry_policy") or {}
            #: What the records are kept by.
            self.results = results_of(
                url,
                conf,
                serializer=self.serializer,
                accept=self.accept,
                expires=_lifetime(self.expires),
            )
        except coatcheck.ConfigurationError as error:
            raise ImproperlyConfigured(str(error)) from error
        self._patience = patience_of({**self.retry_policy, **policy})
        self._store = self.results.backend
        self.expires = self.results.expires
        failures = conf.get("result_failure_expires")
        self._failure_expires = (
            self.expires if failures is None else _lifetime(self.prepare_expires(failures))
        )
        chords = conf.get("result_chord_expires")
        self._chord_expires = (
            self.expires if chords is None else _lifetime(self.prepare_expires(chords))
        )
        join = conf.result_chord_join_timeout
        # A member may be about to store, and may do so for as long.
        self._join_timeout = None if join is None else max(join, self._patience or 0.0)
        self._protect = self.results.protect
        #: The bodies of the chords that this process has begun: Celery says their sizes without.
        self._begun: LRUCache = LRUCache(limit=1000)

    @property
    def supports_autoexpire(self) -> bool:
        """
        Whether the store forgets by itself; if not, beat sends `celery.backend_cleanup`.

        Celery's own backends leave records behind that only a clean-up deletes, after a switch too.
        """
        return bool(self._store.capabilities & Capability.TTL) and not self._store.keeps_others

    def as_uri(self, include_password: bool = False) -> str:  # noqa: FBT001, FBT002
        """
        Return the URL as in the configuration, its secrets masked unless asked for.
        """
        url = self.url or f"{celeryconfig.NAMED}://"
        shown = url if include_password else str(URL(url))
        return shown if url.startswith(celeryconfig.NAMED) else f"{celeryconfig.PREFIX}{shown}"

    def __reduce__(self, args: Any = (), kwargs: Any = None) -> Any:
        return _unpickle, (type(self), self.url)

    # -- one task -------------------------------------------------------------------------

    def store_result(
        self,
        task_id: Any,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """
        Store a state, unless there is one that is protected; return the result as stored.
        """
        error = result if isinstance(result, BaseException) else None
        return super().store_result(
            task_id,
            result,
            state,
            traceback=traceback,
            request=request,
            error=error if state in states.EXCEPTION_STATES else None,
            **kwargs,
        )

    def _store_result(
        self,
        task_id: Any,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        error: BaseException | None = None,
        **_: Any,
    ) -> Any:
        key = id_of(task_id)
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        expires = self._lifetime_of(state, request)
        record = record_of(self._store.codec, key, meta, error, expires)
        with celery_errors(key, state):
            self._patiently(
                lambda: self._store.put(key, record, unless=self._protect, expires=expires)
            )
        return result

    def _lifetime_of(self, state: str, request: Any) -> float | None:
        own = self._failure_expires if state == states.FAILURE else self.expires
        if getattr(request, "chord", None) is None:
            return own
        # The body is made of the records of the header.
        return _longest(own, self._chord_expires)

    def _patiently(self, operation: Callable[[], T]) -> T:
        """
        Call *operation* again while the store is away, for as long as the retry policy says.
        """
        give_up = float("inf") if self._patience is None else monotonic() + self._patience
        pause = _PAUSE
        while True:
            try:
                return operation()
            except coatcheck.BackendUnavailableError as error:
                if monotonic() >= give_up:
                    raise
                _logger.warning("The result store is away, trying again: %s", error)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """
        Whether `result_backend_always_retry` is to repeat what raised *exc*.
        """
        cause = exc.__cause__ if isinstance(exc, (BackendStoreError, BackendGetMetaError)) else exc
        return isinstance(cause, coatcheck.BackendUnavailableError)

    def _get_task_meta_for(self, task_id: Any) -> Meta:
        key = id_of(task_id)
        with celery_errors(key):
            record = self.results.get_task_meta(key)
        meta: Meta = self.meta_from_decoded(meta_of(record))
        return meta

    def task_result_exists(self, task_id: Any) -> bool:
        """
        Whether anything is stored for the task.
        """
        key = id_of(task_id)
        with celery_errors(key):
            return self.results.exists(key)

    def _forget(self, task_id: Any) -> None:
        key = id_of(task_id)
        with celery_errors(key):
            self.results.forget(key)

    def cleanup(self) -> None:
        """
        Delete expired records that are still there, and those that Celery's own backend stored there
        before the application switched.
        """
        self.results.purge()
        if self.expires:
            self._store.purge_others(self.expires)

    # -- groups ---------------------------------------------------------------------------

    def _save_group(self, group_id: Any, result: Any) -> Any:
        key = id_of(group_id)
        with celery_errors(key, states.SUCCESS):
            self._patiently(
                lambda: self._store.put_group_tree(key, result.as_tuple(), expires=self.expires)
            )
        return result

    def _restore_group(self, group_id: Any) -> Meta | None:
        key = id_of(group_id)
        with celery_errors(key):
            tree = self._store.get_group_tree(key)
        return None if tree is None else {"result": result_from_tuple(tree, self.app)}

    def _delete_group(self, group_id: Any) -> None:
        key = id_of(group_id)
        with celery_errors(key):
            self._store.delete_group(key)

    # -- chords ---------------------------------------------------------------------------

    def _chord(self, group_id: Any, body: str) -> Chord:
        return Chord(
            self.results,
            id_of(group_id),
            body,
            expires=_longest(self._chord_expires, _CHORD_LIFE),
            timeout=self._join_timeout,
            patiently=self._patiently,
        )

    def apply_chord(self, header_result_args: Any, body: Any, **_: Any) -> None:
        """
        Begin a run, and keep the header's nesting, if it holds groups. What is generated is not
        looked at.
        """
        self.ensure_chords_allowed()
        group_id, members = header_result_args
        body_id = self._begun[str(group_id)] = body_id_of(body)
        chord = self._chord(group_id, body_id)
        with celery_errors(group_id, states.PENDING):
            chord.begin()
        if isinstance(members, _regen) or not any(isinstance(m, ResultSet) for m in members):
            return
        with celery_errors(group_id, states.PENDING):
            chord.save_header([member.as_tuple() for member in members])

    def set_chord_size(self, group_id: Any, chord_size: int) -> None:
        with celery_errors(group_id, states.PENDING):
            self._chord(group_id, self._begun.get(str(group_id), "")).set_size(chord_size)

    def add_to_chord(self, chord_id: Any, result: Any) -> None:
        with celery_errors(chord_id, states.PENDING):
            self._chord(chord_id, "").add(id_of(result.id))

    def mark_as_done(
        self,
        task_id: Any,
        result: Any,
        request: Any = None,
        store_result: bool = True,  # noqa: FBT001, FBT002 - Celery's signature
        state: str = states.SUCCESS,
    ) -> None:
        """
        Store a value; the last of a chord's header starts the body.

        What is long comes before the value is stored: if the worker dies of it, the task did
        not succeed, so that it runs again or fails, and the chord with it.
        """
        stored = store_result and not getattr(request, "ignore_result", False)
        finish = None
        if request and request.chord:
            finish = self._arrive(request, state, result, stored=stored)
        if stored:
            self.store_result(task_id, result, state, request=request)
        if finish is not None:
            finish()

    def on_chord_part_return(
        self, request: Any, state: str, result: Any, told: Iterable[Errback] = (), **_: Any
    ) -> None:
        """
        Take in that a member of a header is over; its record, if it has one, is stored.
        """
        finish = self._arrive(request, state, result, stored=False, told=told)
        if finish is not None:
            finish()

    def _arrive(
        self,
        request: Any,
        state: str,
        result: Any,
        *,
        stored: bool,
        told: Iterable[Errback] = (),
    ) -> Callable[[], None] | None:
        """
        Count a member; what starts the body, if that is for this one to do.
        """
        if not request.group or not request.id:
            return None
        chord = self._chord(request.group, body_id_of(request.chord))
        value = [] if stored else [state, self.encode_result(result, state), [*told]]
        index = getattr(request, "group_index", None)
        with celery_errors(request.id, state):
            completion = chord.arrive(id_of(request.id), index, value)
        if completion is None:
            return None
        failed: Exception | None = None
        try:
            completion.read()
        except Exception as error:  # noqa: BLE001 - it is the body's failure
            failed = error
        return partial(self._finish, request, completion, failed)

    def _finish(self, request: Any, completion: Completion, failed: Exception | None) -> None:
        callback = maybe_signature(request.chord, app=self.app)
        try:
            self._start(callback, completion, failed)
        except ChordError as error:
            _logger.exception("Chord %r raised", request.group)
            # In here, because it takes the traceback of what is being handled.
            self.chord_error_from_stack(callback, error, completion.told)
        try:
            completion.close()
        except coatcheck.BackendError as error:
            # What is left of it expires; what it was about is done.
            _logger.warning("Chord %r was not cleared up: %s", request.group, error)

    def _start(self, callback: Any, completion: Completion, failed: Exception | None) -> None:
        """
        Send the body. Raises `ChordError` for whatever keeps from that.
        """
        try:
            if failed is not None:
                raise failed  # noqa: TRY301 - as if it had come now
            values = completion.values(self.meta_from_decoded)
        except ChordError:
            raise
        except Exception as error:
            raise ChordError(f"Join error: {error!r}") from error
        try:
            self._publish(callback, values)
        except Exception as error:
            raise ChordError(f"Callback error: {error!r}") from error

    def chord_error_from_stack(
        self, callback: Any, exc: BaseException | None = None, told: Iterable[Errback] = ()
    ) -> Any:
        """
        Fail the body of a chord, and count it in the chord whose header it is in.

        Celery's own backends leave the outer chord waiting for it.

        Args:
            told: the error callbacks that were called for what made it fail.
        """
        exc = exc or sys.exc_info()[1]
        failed = super().chord_error_from_stack(untold(callback, told, self.app), exc)
        told = [*told, *errbacks_of(callback, self.app)]
        for request in members_of(callback, self.app):
            self.on_chord_part_return(request, states.FAILURE, exc, told)
        return failed

    def _publish(self, callback: Any, values: list[Any]) -> None:
        retrying = getattr(self.app.amqp, "_retry_publish", None)  # since Celery 5.7
        if retrying is None:
            callback.delay(values)
        else:
            retrying(callback.delay, values)


def _unpickle(cls: type[CoatcheckBackend], url: str | None) -> CoatcheckBackend:
    """
    Return the current application's backend if it is this one, and another where it is not.
    """
    app = current_app._get_current_object()  # noqa: SLF001 - as Celery unpickles
    backend = app.backend
    if type(backend) is cls and backend.url == url:
        return backend
    return cls(app, url=url)


def _lifetime(seconds: float | None) -> float | None:
    """
    Return how long a record lives; Celery's 0 keeps it.
    """
    return float(seconds) if seconds else None


def _longest(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)
