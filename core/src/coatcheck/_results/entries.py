"""
The entries of a task's log, before they are appended and after they were read. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from .. import states
from .._backends.backend import Capability
from .._backends.logs import LOG_BYTES, LOG_EVENTS, Log
from .._coding.codec import Codec
from .._record.documents import AllFields, Fields
from .._record.events import (
    EVENT,
    PROGRESS,
    Attempt,
    Event,
    attempts_of,
    checked_kind,
    new_event,
    state_event,
)
from .._record.meta import ResultMeta
from .._waiting.tail import Tail
from ..errors import ResultTooLargeError

if TYPE_CHECKING:
    from .base import ResultsBase

#: The states that say nothing about a run.
_NOT_BEGUN: Final = (states.PENDING, states.RECEIVED, states.RETRY, *states.READY_STATES)


def encoded_event(results: ResultsBase, document: Mapping[str, Any]) -> bytes:
    """Return the bytes of an entry. Raises `EncodeError`, or `ResultTooLargeError`."""
    data = results._codec.encode(document)  # noqa: SLF001 - its log
    limit = min(LOG_BYTES, results.backend.max_value_bytes or LOG_BYTES)
    if len(data) > limit:
        raise ResultTooLargeError(document["task_id"], size=len(data), limit=limit)
    return data


class TaskLog:
    """
    The events of one run of a task that the store does not have yet.

    The log of a task begins with the first event, or with a second attempt. Each run first appends that it
    was started, so a task without events costs nothing.
    """

    def __init__(self, results: ResultsBase, task_id: str, fields: Fields, info: object) -> None:
        self._results = results
        self._task_id = task_id
        self._fields = fields
        self._info = info
        self._unsent: list[bytes] = []
        later = (fields.get("attempt") or 1) > 1 or (fields.get("retries") or 0) > 0
        self._begins = later and self._supported
        self._begun = False
        self._added = False

    @property
    def _supported(self) -> bool:
        return Capability.EVENTS in self._results.capabilities

    @property
    def waits(self) -> bool:
        """Whether events could not be stored yet."""
        return bool(self._unsent)

    def emit(self, kind: str, data: object) -> None:
        """Add an event of the application. Raises `UnsupportedError`, or what encoding raises."""
        if not self._supported:
            raise self._results.backend._lacks_events()  # noqa: SLF001 - its log
        self._add(new_event(self._task_id, checked_kind(kind), data))

    def note(self, state: str, info: object) -> None:
        """Add progress, or once the log began a change of the state, where the store keeps events."""
        self._added = False
        if state == states.PROGRESS and self._supported:
            try:
                self._add(new_event(self._task_id, PROGRESS, info))
            except ResultTooLargeError:
                # The record may hold more than the log.
                kept = ("current", "total")
                given = info if isinstance(info, dict) else {}
                self._add(new_event(self._task_id, PROGRESS, {key: given.get(key) for key in kept}))
        elif self._begun:
            self._add(self._state(state, info, datetime.now(UTC)))

    def retry(self, error: object) -> None:
        """Add that the attempt failed, where the store keeps events. Its record says so, too."""
        if self._supported:
            with suppress(ResultTooLargeError):
                self._add(self._state(states.RETRY, error, datetime.now(UTC)))

    def _state(self, state: str, info: object, date: datetime | None) -> dict[str, Any]:
        writer = self._results._writer  # noqa: SLF001 - its log
        meta = writer.record(self._task_id, state, info, fields=cast("AllFields", self._fields))
        return state_event(meta.document, date)

    def _add(self, document: Mapping[str, Any]) -> None:
        self._unsent.append(encoded_event(self._results, document))
        del self._unsent[:-LOG_EVENTS]  # a store may be away for long
        self._added = True

    def take_back(self) -> None:
        """Drop the event that `note` added, because its record cannot be stored."""
        if self._added:
            self._unsent.pop()

    def pending(self) -> list[bytes]:
        """Return the events to append with the next record; none for a task that emits nothing."""
        if self._begun or not (self._unsent or self._begins):
            return self._unsent
        opening = self._state(states.STARTED, self._info, self._fields.get("date_started"))
        return [encoded_event(self._results, opening), *self._unsent]

    def sent(self) -> None:
        """Note that the store has all pending events."""
        self._begun |= self._begins or bool(self._unsent)
        self._unsent.clear()


def retry_events(
    results: ResultsBase, before: ResultMeta | None, log: Log, meta: ResultMeta
) -> list[bytes]:
    """
    Return the events of a RETRY *meta* over the record *before*: that record first, unless *log* knows of
    the attempt.
    """
    events = [state_event(meta.document, datetime.now(UTC))]
    if before is not None and before.status not in _NOT_BEGUN and before.error is None:
        logged = state_metas(results._codec, before.task_id, log)  # noqa: SLF001 - its log
        if len(attempts_of([*logged, before])) > len(attempts_of(logged)):
            events.insert(0, state_event(before.document, before.date_started))
    return [encoded_event(results, document) for document in events]


def state_metas(codec: Codec, task_id: str, log: Log) -> list[ResultMeta]:
    """Return the records in *log*."""
    metas = (codec.decode(task_id, data) for data in log.events)
    return [meta for meta in metas if meta.status != EVENT]


def attempts(codec: Codec, meta: ResultMeta, log: Log) -> list[Attempt]:
    """Return the attempts at a task by its record and its log."""
    return attempts_of([*state_metas(codec, meta.task_id, log), meta])


class EventReader(Tail):
    """Makes events of a task's log and its record."""

    def __init__(self, codec: Codec, task_id: str, after: int) -> None:
        super().__init__(after)
        self._codec = codec
        self._task_id = task_id
        self._last = 0

    def take(self, meta: ResultMeta) -> list[Event]:
        """
        Return the new events in the last read of the log, which followed that of the record *meta*.

        Without a log the record tells of its start. The end is not in the log: it is the ready record.
        """
        log = self.log or Log()  # once: the hub may replace it meanwhile
        last = log.last
        metas = [self._codec.decode(self._task_id, data) for data in log.events]
        if not last and (started := self._start_in(meta)) is not None:
            metas, last = [started], 1
        first = last - len(metas) + 1
        events = [
            self._event(entry, number)
            for number, entry in enumerate(metas, first)
            if number > self.after
        ]
        if meta.ready:
            events.append(self._event(meta, max(last, self._last) + 1, last=True))
        return events

    def _event(self, meta: ResultMeta, number: int, *, last: bool = False) -> Event:
        dropped = max(number - 1 - self.after, 0)
        self.after, self._last = max(self.after, number), number
        return Event(meta, number, dropped, last=last)

    def _start_in(self, meta: ResultMeta) -> ResultMeta | None:
        if meta.status == states.STARTED:
            return meta
        if not meta.ready or meta.date_started is None:
            return None
        started = {"worker": meta.worker, "date_started": meta.date_started.isoformat()}
        document = {"status": states.STARTED, "result": None, "task_id": self._task_id, **started}
        return self._codec.written(document)
