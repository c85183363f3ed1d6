"""
Records from states, values and exceptions, before they are written. No I/O.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, cast

from .. import states
from .._backends.backend import Anything, Unless
from .._coding.codec import Codec
from .._record.describing import format_traceback
from .._record.documents import AllFields, new_document
from .._record.failures import Failure
from .._record.meta import ResultMeta
from .._record.texts import safe_repr, shortened
from .._runtime.bare import cause_of, context_of, is_a, traceback_of
from .._settings.durations import Expires, checked_expires
from .._settings.options import DEFAULT, Default
from ..errors import ArgumentError, CoatcheckError, ResultTooLargeError, UnsupportedError
from .losses import is_claim

_logger = logging.getLogger("coatcheck")

#: How many characters of a text stay at most in a failure that is too large for the store.
_SHORT: Final = 4_000
_SHORTEST: Final = 100
#: The keys that say something about the state of an unready record only.
_OF_ONE_STATE: Final = ("heartbeat", "expires_at", "traceback")


def checked_states(words: Iterable[str]) -> frozenset[str]:
    """Return the states *words*, each of them one that can be."""
    given = [words] if isinstance(words, str) else list(words)
    return frozenset(w if w in states.FOREIGN_READY_STATES else states.checked(w) for w in given)


class Draft(NamedTuple):
    """
    A record to store: `meta` replaces no record in one of the states `unless`, and lives `seconds`.
    """

    meta: ResultMeta
    unless: Unless
    seconds: float | None


class Stored:
    """The outcome for several records."""

    def __init__(self) -> None:
        #: Of each id, whether one of its records was the first.
        self.won: dict[str, bool] = {}
        self.errors: list[Exception] = []

    def took(self, draft: Draft, *, first: bool) -> None:
        """
        Note an answer of the store. An id that comes twice in one call is won by its first value.
        """
        task_id = draft.meta.task_id
        self.won[task_id] = self.won.get(task_id, False) or first


class Writer:
    """Makes the records that one application writes."""

    def __init__(
        self, codec: Codec, *, expires: Expires, protect: Iterable[str], read_only: bool
    ) -> None:
        self.codec = codec
        self.expires = checked_expires(expires)
        self.protect = checked_states(protect)
        self.read_only = read_only

    def check_writable(self) -> None:
        """Raise `UnsupportedError` if nothing may be written or deleted."""
        if self.read_only:
            raise UnsupportedError("these results are read-only: nothing was changed")

    def lifetime(self, expires: Expires | Default) -> float | None:
        """Return *expires* in seconds, or the default."""
        return self.expires if isinstance(expires, Default) else checked_expires(expires)

    def draft(
        self,
        task_id: str,
        result: Any,
        state: str,
        *,
        traceback: str | None = None,
        expires: Expires | Default = DEFAULT,
        protect: Iterable[str] | Anything | None = None,
        fields: AllFields | None = None,
    ) -> Draft:
        """Return the draft of a record, with the defaults filled in."""
        self.check_writable()
        seconds = self.lifetime(expires)
        if protect is None:
            unless: Unless = self.protect
        else:
            unless = protect if isinstance(protect, Anything) else checked_states(protect)
        meta = self.record(
            task_id, state, result, traceback=traceback, expires=seconds, fields=fields
        )
        return Draft(meta, unless, seconds)

    def record(
        self,
        task_id: str,
        state: str,
        result: Any = None,
        *,
        traceback: str | None = None,
        expires: float | None = None,
        fields: AllFields | None = None,
    ) -> ResultMeta:
        """
        Return the record of a task in *state*.

        In FAILURE, REVOKED and RETRY *result* is the exception; only RETRY can do without.
        """
        state = states.checked(state)
        document: Any = None
        if state in states.EXCEPTION_STATES and not (state == states.RETRY and result is None):
            failure = _failure(state, result)
            if traceback is None and is_a(result, BaseException):
                traceback = _traceback(result)
            result = failure.to_celery(self.codec.keep)
            document = failure.to_document(self.codec.keep)
        return self.codec.written(
            new_document(
                task_id,
                state,
                result,
                traceback=traceback,
                failure=document,
                expires=expires,
                fields=fields,
            )
        )

    def substitute(self, draft: Draft, error: CoatcheckError) -> tuple[Draft | None, bool]:
        """
        Return a small FAILURE to store where *draft* could not be, and whether the caller must hear of
        *error*. Nothing replaces an unready record: its task goes on.
        """
        meta = draft.meta
        if not meta.ready:
            return None, True
        # It is stored three times, and a character may take twelve bytes.
        limit = error.limit // 200 if isinstance(error, ResultTooLargeError) else _SHORT
        limit = max(_SHORTEST, min(limit, _SHORT))
        failure, state, text = meta.failure, meta.status, meta.traceback
        raises = failure is None
        if failure is None:
            failure, state, text = _small(error, limit), states.FAILURE, _traceback(error)
        else:
            _logger.warning("the failure of task %r is stored shortened: %s", meta.task_id, error)
            failure = failure.shortened(limit, f"the failure was shortened: {error}")
        record = self.record(
            meta.task_id,
            state,
            failure,
            traceback=text and _short_lines(text, 4 * limit),
            expires=draft.seconds,
            fields={"once": meta.document.get("once")},
        )
        return draft._replace(meta=record), raises

    def leaves(self, observed: ResultMeta) -> bool:
        """
        Whether the record of a lost worker stays as it is: nothing may be written, or the next caller of
        `once` takes the work over.
        """
        return self.read_only or is_claim(observed)

    def lost(self, observed: ResultMeta) -> ResultMeta:
        """Return the FAILURE to put over the record *observed*, whose worker is lost."""
        beat = observed.heartbeat or {}
        worker = observed.worker or "unknown"
        failure = Failure.worker_lost(
            f"worker {worker} gave no sign of life for 3 intervals of {beat.get('every')} s"
        )
        return self._over(observed, states.FAILURE, failure, self.expires)

    def revoked(self, observed: ResultMeta, reason: str, expires: Expires | Default) -> Draft:
        """Return the REVOKED to put over the record *observed*, or over none."""
        self.check_writable()
        failure, seconds = _failure(states.REVOKED, reason), self.lifetime(expires)
        meta = self._over(observed, states.REVOKED, failure, seconds)
        return Draft(meta, self.protect, seconds)

    def _over(
        self, observed: ResultMeta, state: str, failure: Failure, seconds: float | None
    ) -> ResultMeta:
        """Return the ready record of a task that others end. It keeps the other keys of *observed*."""
        fresh = self.record(observed.task_id, state, failure, expires=seconds)
        document = dict(fresh.document)
        for key, value in observed.values().items():
            known = document.get(key) is not None or key in _OF_ONE_STATE
            if isinstance(key, str) and not known:
                # Our serializer may not be able to hold a value that another one kept.
                document[key] = value if self.codec.encodes(value) else safe_repr(value)
        return self.codec.written(document)


def _failure(state: str, reason: object) -> Failure:
    if is_a(reason, BaseException):
        return Failure.of(cast("BaseException", reason))
    if isinstance(reason, Failure):
        return reason
    if state == states.REVOKED and isinstance(reason, str | None):
        return Failure.revoked(reason or "revoked")
    raise ArgumentError(f"the result of {state}", reason, "give the exception")


def _small(error: CoatcheckError, limit: int) -> Failure:
    """Return *error* as a failure without the one that was being handled, and with a short cause."""
    failure = Failure.of(error)
    failure.context = None
    if failure.cause is not None:
        note = f"texts over {limit} characters were shortened"
        failure.cause = failure.cause.shortened(limit, note)
    return failure


def _short_lines(traceback: str, limit: int) -> str:
    """Return *traceback* with its long lines shortened, which are messages, before the whole is."""
    lines = [shortened(line, limit // 16) for line in traceback.splitlines()]
    return shortened("\n".join(lines), limit)


def _traceback(error: BaseException) -> str | None:
    # An exception that was never raised has nothing to show.
    origins = (traceback_of(error), cause_of(error), context_of(error))
    raised = any(origin is not None for origin in origins)
    return format_traceback(error) if raised or is_a(error, BaseExceptionGroup) else None
