"""
The backend's part in chords: members of a header arrive, and the last of them starts the body.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable
from functools import partial

from celery import Celery, Signature, maybe_signature, states
from celery.app.task import Context
from celery.backends.base import Backend
from celery.exceptions import ChordError
from celery.result import AsyncResult, ResultSet
from celery.utils.functional import _regen
from celery.utils.log import get_logger
from kombu.utils.functional import LRUCache

import coatcheck

from .bodies import Errback, errbacks_of, members_of, untold
from .chords import Chord, Completion, body_id_of
from .records import TaskId, celery_errors, id_of

_logger = get_logger(__name__)


class Chording(Backend):
    """The part of the backend that joins."""

    def __init__(self, app: Celery, url: str | None = None, **kwargs: object) -> None:
        super().__init__(app, url=url, **kwargs)
        #: The bodies of the chords that this process began. Celery names no body with a chord's size.
        self._begun: LRUCache = LRUCache(limit=1000)

    @abstractmethod
    def _chord(self, group_id: TaskId, body: str) -> Chord:
        """Return the chord with this header, whose *body* ends with the task of that id."""

    def apply_chord(
        self, header_result_args: tuple[TaskId, Iterable[AsyncResult]], body: Signature, **_: object
    ) -> None:
        """Begin a run. Keep the header's nesting if it holds groups; a generator is left alone."""
        self.ensure_chords_allowed()
        group_id, members = header_result_args
        body_id = self._begun[str(group_id)] = body_id_of(body)
        chord = self._chord(group_id, body_id)
        with celery_errors(group_id, states.PENDING):
            chord.begin()
            if not isinstance(members, _regen) and any(isinstance(m, ResultSet) for m in members):
                chord.save_header([member.as_tuple() for member in members])

    def set_chord_size(self, group_id: TaskId, chord_size: int) -> None:
        with celery_errors(group_id, states.PENDING):
            self._chord(group_id, self._begun.get(str(group_id), "")).set_size(chord_size)

    def add_to_chord(self, chord_id: TaskId, result: AsyncResult) -> None:
        with celery_errors(chord_id, states.PENDING):
            self._chord(chord_id, "").add(id_of(result.id))

    def mark_as_done(
        self,
        task_id: TaskId,
        result: object,
        request: Context | None = None,
        store_result: bool = True,  # noqa: FBT001, FBT002 - Celery's signature
        state: str = states.SUCCESS,
    ) -> None:
        """
        Store a value; the last of a chord's header starts the body.

        Slow work comes before the value is stored: if the worker dies there, the task runs again or fails,
        and the chord with it.
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
        self,
        request: Context,
        state: str,
        result: object,
        told: Iterable[Errback] = (),
        **_: object,
    ) -> None:
        """Note that a member of a header is over. Its record, if it has one, is stored already."""
        finish = self._arrive(request, state, result, stored=False, told=told)
        if finish is not None:
            finish()

    def _arrive(
        self,
        request: Context,
        state: str,
        result: object,
        *,
        stored: bool,
        told: Iterable[Errback] = (),
    ) -> Callable[[], None] | None:
        """Count a member. Return the function that starts the body if this member must start it."""
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

    def _finish(self, request: Context, completion: Completion, failed: Exception | None) -> None:
        callback = maybe_signature(request.chord, app=self.app)
        try:
            self._start(callback, completion, failed)
        except ChordError as error:
            _logger.exception("Chord %r raised", request.group)
            # Inside the handler, because it reads the current exception's traceback.
            self.chord_error_from_stack(callback, error, completion.told)
        try:
            completion.close()
        except coatcheck.BackendError as error:
            # The body was started, and the remaining parts expire.
            _logger.warning("Chord %r was not cleared up: %s", request.group, error)

    def _start(self, callback: Signature, completion: Completion, failed: Exception | None) -> None:
        """Send the body. Raises `ChordError` if that fails for any reason."""
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
        self, callback: Signature, exc: BaseException | None = None, told: Iterable[Errback] = ()
    ) -> object:
        """
        Fail the body of a chord, and count it in the chord whose header it is in.

        Celery's own backends leave the outer chord waiting for it.

        Args:
            told: the error callbacks that were called for the failure of the member.
        """
        exc = exc or sys.exc_info()[1]
        failed = super().chord_error_from_stack(untold(callback, told, self.app), exc)
        told = [*told, *errbacks_of(callback, self.app)]
        for request in members_of(callback, self.app):
            self.on_chord_part_return(request, states.FAILURE, exc, told)
        return failed

    def _publish(self, callback: Signature, values: list[object]) -> None:
        retrying = getattr(self.app.amqp, "_retry_publish", None)  # since Celery 5.7
        if retrying is None:
            callback.delay(values)
        else:
            retrying(callback.delay, values)
