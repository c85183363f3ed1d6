"""
Events: the entries of a task's log, as documents and as what readers get.

An entry is a document like a record. One that the application emitted has `EVENT` in place of the state; any
other one is the record that the task had, with the date.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from .. import states
from ..errors import ArgumentError
from .documents import VERSION
from .fields import aware
from .meta import ResultMeta
from .plain import error_text, iso, jsonable

#: In place of the state of a record; no state is lower-case.
EVENT: Final = "event"
#: The kind of events that are changes of the task's state.
STATE: Final = "state"
PROGRESS: Final = "progress"
#: The states in which an attempt has ended.
_ENDS: Final = (states.RETRY, *states.READY_STATES)


def checked_kind(kind: str) -> str:
    """Return the *kind* of an emitted event. Raises `ArgumentError`."""
    if not isinstance(kind, str) or not kind or kind == STATE:
        advice = f"use a non-empty str other than {STATE!r}, which marks changes of the state"
        raise ArgumentError("the kind of an event", kind, advice)
    return kind


def checked_after(after: int) -> int:
    """Return the number of an event, or 0. Raises `ArgumentError`."""
    if isinstance(after, bool) or not isinstance(after, int) or after < 0:
        raise ArgumentError("after", after, "use the number of the last event seen, or 0")
    return after


def new_event(task_id: str, kind: str, data: object) -> dict[str, Any]:
    """Return the document of an emitted event."""
    return {
        "status": EVENT,
        "result": data,
        "kind": kind,
        "date": datetime.now(UTC).isoformat(),
        "task_id": task_id,
        "v": VERSION,
    }


def state_event(document: Mapping[str, Any], date: datetime | None) -> dict[str, Any]:
    """Return the event of a change to the record *document* at *date*, if that is known."""
    kept = {k: v for k, v in document.items() if k not in ("heartbeat", "expires_at", "write_id")}
    return kept if date is None else {**kept, "date": date.isoformat()}


class Event:
    """
    One entry of a task's log. Reading an attribute does no I/O.

    Attributes:
        number: its place in the log, from 1.
        dropped: how many events before this one were dropped and not delivered.
        last: whether this is the end, which carries the ready record.
    """

    __slots__ = ("_meta", "dropped", "last", "number")

    number: int
    dropped: int
    last: bool

    def __init__(
        self, meta: ResultMeta, number: int, dropped: int = 0, *, last: bool = False
    ) -> None:
        self._meta = meta
        self.number = number
        self.dropped = dropped
        self.last = last

    def __repr__(self) -> str:
        what = self.state or self.kind
        return f"<Event {self.number} of {self.task_id!r}: {what}>"

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self._meta.task_id

    @property
    def kind(self) -> str:
        """
        The kind that the application gave, or "state" for a change of the state; "" if it cannot be read.
        """
        if self._meta.status != EVENT:
            return STATE
        kind = self._meta.document.get("kind")
        return kind if isinstance(kind, str) else ""

    @property
    def state(self) -> str | None:
        """The new state, for the kind "state"; else `None`."""
        return None if self._meta.status == EVENT else self._meta.status

    @property
    def data(self) -> Any:
        """
        The data of the event: for a change of the state, the `result` of the record. Raises `error`.
        """
        return self._meta.result

    @property
    def error(self) -> Exception | None:
        """The reason why the data cannot be read, or `None`."""
        return self._meta.error

    @property
    def date(self) -> datetime | None:
        """When it happened, in UTC, by the writer's clock; `None` if the writer did not say."""
        return _date_of(self._meta)

    @property
    def meta(self) -> ResultMeta | None:
        """The record, for a change of the state; else `None`."""
        return None if self._meta.status == EVENT else self._meta

    def as_json(self) -> dict[str, Any]:
        """
        Return the event as data for `json.dumps`, in the form of `coatcheck events --json`: `data` for an event
        of the application, `record` for a change of the state. `error` says why these cannot be read.
        """
        data = self.data if self.meta is None and self.error is None else None
        return {
            "task_id": self.task_id,
            "number": self.number,
            "dropped": self.dropped,
            "last": self.last,
            "kind": self.kind,
            "state": self.state,
            "date": iso(self.date),
            "data": jsonable(data),
            "error": error_text(self.error),
            "record": None if self.meta is None else self.meta.as_json(),
        }


def _date_of(meta: ResultMeta) -> datetime | None:
    date = aware(meta.document.get("date"))
    if date is not None or meta.status == EVENT:
        return date
    return meta.date_started if meta.status == states.STARTED else meta.date_done


class Attempt(NamedTuple):
    """One attempt at a task. What its worker did not say is `None`."""

    #: The state that it came to, or is in: STARTED, RETRY, or a ready one.
    state: str
    worker: str | None
    started: datetime | None
    ended: datetime | None
    #: Why it failed.
    error: Exception | None


def attempts_of(metas: list[ResultMeta]) -> list[Attempt]:
    """Return the attempts that the records *metas* of one task show, oldest first."""
    found: list[Attempt] = []
    running = False
    for meta in metas:
        if not running and not _tells_of_a_run(meta):
            continue
        if not (running and _is_same_run(found[-1], meta)):
            found.append(Attempt(states.STARTED, meta.worker, meta.date_started, None, None))
        running = meta.status not in _ENDS
        if not running:
            found[-1] = _ended(found[-1], meta)
    return found


def _tells_of_a_run(meta: ResultMeta) -> bool:
    if meta.status == states.REVOKED:  # maybe before it began
        return meta.date_started is not None
    return meta.status not in (states.PENDING, states.RECEIVED)


def _is_same_run(attempt: Attempt, meta: ResultMeta) -> bool:
    if meta.worker not in (None, attempt.worker):
        return False
    began, known = meta.date_started, attempt.started
    # Some stores keep milliseconds.
    return began is None or (known is not None and abs(began - known) < timedelta(milliseconds=1))


def _ended(attempt: Attempt, meta: ResultMeta) -> Attempt:
    error = meta.error
    if error is None and meta.status in states.EXCEPTION_STATES:
        error = meta.result
    return attempt._replace(
        state=meta.status,
        worker=attempt.worker or meta.worker,
        started=attempt.started or meta.date_started,
        ended=_date_of(meta),
        error=error,
    )
