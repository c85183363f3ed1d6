"""
The fields of a record besides its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from .._runtime.clocks import wall
from ..errors import DecodeError

#: Later heartbeats mean that the record is damaged, in seconds since 1970.
_LATEST: Final = 1e12


def aware(value: object, zone: tzinfo = UTC) -> datetime | None:
    """
    Return *value*, ISO 8601 text or a datetime, as an aware datetime in UTC, else `None`.

    Naive times are in *zone*. Celery stored them in UTC up to 5.3.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return (value.replace(tzinfo=zone) if value.tzinfo is None else value).astimezone(UTC)
    except OverflowError:
        return None


class RecordFields:
    """
    Reads the fields of `document`. A field that is missing or of another type reads as `None`.
    """

    __slots__ = ()

    @property
    def document(self) -> Mapping[str, Any]:
        """The record as stored: plain data, tags unread. Do not change it."""
        raise NotImplementedError

    def _revived(self, key: str) -> Any:
        """Return a field with its tags read. Raises `DecodeError`."""
        raise NotImplementedError

    def _text(self, key: str) -> str | None:
        value = self.document.get(key)
        return value if isinstance(value, str) else None

    def _date(self, key: str) -> datetime | None:
        try:
            return aware(self._revived(key))
        except DecodeError:
            return None

    def _number(self, key: str) -> int | None:
        value = self.document.get(key)
        return value if isinstance(value, int) else None

    @property
    def traceback(self) -> str | None:
        """The formatted traceback of the task's exception."""
        return self._text("traceback")

    @property
    def children(self) -> Any:
        """The task's children as stored: Celery's nested result tuples, or `None`."""
        return self.document.get("children")

    @property
    def date_done(self) -> datetime | None:
        """When the task became ready, in UTC."""
        return self._date("date_done")

    @property
    def date_started(self) -> datetime | None:
        """When the task started, in UTC."""
        return self._date("date_started")

    @property
    def expires_at(self) -> datetime | None:
        """
        When the record expires, in UTC, by its writer's clock; `None` if it is kept or the writer did not say.
        """
        return self._date("expires_at")

    @property
    def parent_id(self) -> str | None:
        """The id of the task that started this one."""
        return self._text("parent_id")

    @property
    def group_id(self) -> str | None:
        """The id of the group the task belongs to."""
        return self._text("group_id")

    @property
    def name(self) -> str | None:
        """The task's name."""
        return self._text("name")

    @property
    def args(self) -> Any:
        """The task's positional arguments, if its writer stored them."""
        return self._revived("args")

    @property
    def kwargs(self) -> Any:
        """The task's keyword arguments, if its writer stored them."""
        return self._revived("kwargs")

    @property
    def worker(self) -> str | None:
        """The worker's name."""
        return self._text("worker")

    @property
    def retries(self) -> int | None:
        """How many times the task was retried."""
        return self._number("retries")

    @property
    def queue(self) -> str | None:
        """The queue the task came by."""
        return self._text("queue")

    @property
    def attempt(self) -> int | None:
        """The number of the attempt that wrote the record."""
        return self._number("attempt")

    @property
    def extra(self) -> Any:
        """The data of the task's queue, such as labels, if its writer stored them."""
        return self._revived("extra")

    @property
    def heartbeat(self) -> Mapping[str, Any] | None:
        """The worker's sign of life: `every`, in seconds, and `beat`, a number that must change."""
        value = self.document.get("heartbeat")
        return value if isinstance(value, dict) else None

    @property
    def heartbeat_age(self) -> float | None:
        """
        The seconds since the worker's last sign of life, by its clock and this machine's; `None` if the task
        has no heartbeat, or is over.
        """
        at = (self.heartbeat or {}).get("at")
        # Bounded: an int of the record may be too large for a float.
        if not isinstance(at, (int, float)) or not 0 <= at < _LATEST:
            return None
        return max(wall() - at, 0.0)

    @property
    def traceparent(self) -> str | None:
        """
        The trace context in which the record was written, as the W3C's header of this name has it.
        """
        return self._text("traceparent")

    @property
    def write_id(self) -> str | None:
        """The random word of the write that made the record; `None` in Celery's records."""
        return self._text("write_id")
