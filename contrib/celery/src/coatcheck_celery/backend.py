"""
The class that Celery uses for `result_backend`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from celery import Celery, current_app, states
from celery.app.task import Context
from celery.exceptions import BackendGetMetaError, BackendStoreError, ImproperlyConfigured
from celery.result import GroupResult, result_from_tuple
from celery.utils.log import get_logger

import coatcheck
from coatcheck import Capability
from coatcheck.plugin import URL, celeryconfig, monotonic, transport_options

from .chording import Chording
from .chords import Chord
from .records import Meta, TaskId, celery_errors, id_of, meta_of, record_of
from .settings import patience_of, results_of
from .waiting import Waiting

T = TypeVar("T")

_logger = get_logger(__name__)
#: Seconds between the first two tries of a write, and between the later ones.
_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
#: A chord that does not end is remembered for at least this time, in seconds, however short results live:
#: without its parts it would never end.
_CHORD_LIFE: Final = 7 * 86_400.0


class CoatcheckBackend(Waiting, Chording):
    """
    Keeps a Celery application's results where coatcheck's URL says, as Celery would keep them.

    One object serves all threads of a process, and survives its fork.

    Args:
        app: the application.
        url: `result_backend` without `coatcheck+`, or `coatcheck://name` unchanged.
    """

    thread_safe = True
    supports_failure_expires = True
    expires: float | None

    def __init__(self, app: Celery, url: str | None = None, **kwargs: object) -> None:
        super().__init__(app, url=url, **kwargs)
        self.thread_safe = True  # overrides the setting, which would give each thread its own
        conf = app.conf
        try:
            policy = transport_options(conf).get("retry_policy") or {}
            #: Stores and reads the records.
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
        self._failure_expires = self._lifetime_by("result_failure_expires")
        self._chord_expires = self._lifetime_by("result_chord_expires")
        join = conf.result_chord_join_timeout
        # A member may be about to store its record, which may take this long.
        self._join_timeout = None if join is None else max(join, self._patience or 0.0)
        self._protect = self.results.protect

    def _lifetime_by(self, setting: str) -> float | None:
        seconds = self.app.conf.get(setting)
        return self.expires if seconds is None else _lifetime(self.prepare_expires(seconds))

    @property
    def supports_autoexpire(self) -> bool:
        """
        Whether the store forgets by itself. If not, beat sends `celery.backend_cleanup`.

        After a switch, only a clean-up deletes the records of Celery's own backend.
        """
        return bool(self._store.capabilities & Capability.TTL) and not self._store.keeps_others

    def as_uri(self, include_password: bool = False) -> str:  # noqa: FBT001, FBT002
        """Return the URL as in the configuration, its secrets masked unless asked for."""
        url = self.url or f"{celeryconfig.NAMED}://"
        shown = url if include_password else str(URL(url))
        return shown if url.startswith(celeryconfig.NAMED) else f"{celeryconfig.PREFIX}{shown}"

    def __reduce__(self, args: object = (), kwargs: object = None) -> tuple[object, object]:
        return _unpickle, (type(self), self.url)

    # -- one task -------------------------------------------------------------------------

    def store_result(
        self,
        task_id: TaskId,
        result: T,
        state: str,
        traceback: str | None = None,
        request: Context | None = None,
        **kwargs: object,
    ) -> T:
        """Store a state, unless a protected one is there. Return the result as stored."""
        error = result if isinstance(result, BaseException) else None
        stored: T = super().store_result(
            task_id,
            result,
            state,
            traceback=traceback,
            request=request,
            error=error if state in states.EXCEPTION_STATES else None,
            **kwargs,
        )
        return stored

    def _store_result(
        self,
        task_id: TaskId,
        result: T,
        state: str,
        traceback: str | None = None,
        request: Context | None = None,
        error: BaseException | None = None,
        **_: object,
    ) -> T:
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

    def _lifetime_of(self, state: str, request: Context | None) -> float | None:
        own = self._failure_expires if state == states.FAILURE else self.expires
        if getattr(request, "chord", None) is None:
            return own
        # The body is made of the records of the header.
        return _longest(own, self._chord_expires)

    def _patiently(self, operation: Callable[[], T]) -> T:
        """Call *operation* again while the store is away, for as long as the retry policy says."""
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
        """Whether `result_backend_always_retry` should repeat an operation that raised *exc*."""
        cause = exc.__cause__ if isinstance(exc, (BackendStoreError, BackendGetMetaError)) else exc
        return isinstance(cause, coatcheck.BackendUnavailableError)

    def _get_task_meta_for(self, task_id: TaskId) -> Meta:
        key = id_of(task_id)
        with celery_errors(key):
            record = self.results.get_task_meta(key)
        meta: Meta = self.meta_from_decoded(meta_of(record))
        return meta

    def task_result_exists(self, task_id: TaskId) -> bool:
        key = id_of(task_id)
        with celery_errors(key):
            return self.results.exists(key)

    def _forget(self, task_id: TaskId) -> None:
        key = id_of(task_id)
        with celery_errors(key):
            self.results.forget(key)

    def cleanup(self) -> None:
        """Delete expired records, and those that Celery's own backend stored before a switch."""
        self.results.purge()
        if self.expires:
            self._store.purge_others(self.expires)

    # -- groups ---------------------------------------------------------------------------

    def _save_group(self, group_id: TaskId, result: GroupResult) -> GroupResult:
        key = id_of(group_id)
        with celery_errors(key, states.SUCCESS):
            self._patiently(
                lambda: self._store.put_group_tree(key, result.as_tuple(), expires=self.expires)
            )
        return result

    def _restore_group(self, group_id: TaskId) -> Meta | None:
        key = id_of(group_id)
        with celery_errors(key):
            tree = self._store.get_group_tree(key)
        return None if tree is None else {"result": result_from_tuple(tree, self.app)}

    def _delete_group(self, group_id: TaskId) -> None:
        key = id_of(group_id)
        with celery_errors(key):
            self._store.delete_group(key)

    def _chord(self, group_id: TaskId, body: str) -> Chord:
        return Chord(
            self.results,
            id_of(group_id),
            body,
            expires=_longest(self._chord_expires, _CHORD_LIFE),
            timeout=self._join_timeout,
            patiently=self._patiently,
        )


def _unpickle(cls: type[CoatcheckBackend], url: str | None) -> CoatcheckBackend:
    """
    Return the current application's backend if it has this class and URL, otherwise a new one.
    """
    app = current_app._get_current_object()  # noqa: SLF001 - as Celery unpickles
    backend = app.backend
    if type(backend) is cls and backend.url == url:
        return backend
    return cls(app, url=url)


def _lifetime(seconds: float | None) -> float | None:
    """Return how long a record lives; Celery's 0 keeps it."""
    return float(seconds) if seconds else None


def _longest(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)
