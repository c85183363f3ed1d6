"""
Writing the document of a task.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict

from .. import states
from ..errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The version of our own keys. The value of a document with a higher version cannot be read.
VERSION: Final = 1


class Fields(TypedDict, total=False):
    """
    Fields that a writer may give besides state and result.

    The names are Celery's. `args` and `kwargs` are stored only when given here. `extra` is for data of the
    queue, such as labels.
    """

    parent_id: str | None
    group_id: str | None
    name: str | None
    args: Any
    kwargs: Any
    worker: str | None
    retries: int | None
    queue: str | None
    children: list[Any] | None
    date_started: datetime | None
    attempt: int | None
    extra: dict[str, Any] | None
    traceparent: str | None


class AllFields(Fields, total=False):
    """All fields, with those that only a running task writes."""

    heartbeat: dict[str, Any] | None
    once: dict[str, Any] | None


#: Written between `date_done` and `task_id`, as Celery orders them.
_FOREIGN_FIELDS = ("parent_id", "group_id", "name", "args", "kwargs", "worker", "retries", "queue")


def checked_id(task_id: str) -> str:
    """Return *task_id* as a plain `str`. A task id is any non-empty text that UTF-8 can encode."""
    if not isinstance(task_id, str) or not task_id:
        raise ArgumentError("a task id", task_id, "use a non-empty str, such as str(uuid.uuid4())")
    if not task_id.isascii():
        try:
            task_id.encode()
        except UnicodeEncodeError:
            raise ArgumentError("a task id", task_id, "it holds a lone surrogate") from None
    return str.__str__(task_id)


def new_write_id() -> str:
    """Return a random word. A write finds it in the stored record to recognise itself."""
    return os.urandom(12).hex()


def new_document(
    task_id: str,
    status: str,
    result: object,
    *,
    traceback: str | None = None,
    failure: Mapping[str, object] | None = None,
    expires: float | None = None,
    fields: AllFields | None = None,
) -> dict[str, Any]:
    """Return the document to store, its keys in the field's order, `status` first."""
    given: Mapping[str, Any] = fields or {}
    now = datetime.now(UTC)
    document: dict[str, Any] = {
        "status": status,
        "result": result,
        "traceback": traceback,
        "children": given.get("children"),
        "date_done": now.isoformat() if status in states.READY_STATES else None,
    }
    for key in _FOREIGN_FIELDS if given else ():
        if given.get(key) is not None:
            document[key] = given[key]
    document["task_id"] = checked_id(task_id)
    document["v"] = VERSION
    document["write_id"] = new_write_id()
    if failure is not None:
        document["failure"] = failure
    if given:
        started = given.get("date_started")
        if started is not None:
            document["date_started"] = started.isoformat()
        for key in ("heartbeat", "attempt", "extra", "once"):
            if given.get(key) is not None:
                document[key] = given[key]
    if expires is not None:
        document["expires_at"] = _later(now, expires)
    if given.get("traceparent") is not None:
        document["traceparent"] = given["traceparent"]
    return document


def _later(now: datetime, seconds: float) -> str | None:
    try:
        return (now + timedelta(0, seconds)).isoformat()
    except (
        OverflowError
    ):  # after the year 9999: the store keeps the record, but no date can express that
        return None
