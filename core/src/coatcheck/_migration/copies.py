"""
One record as another store takes it. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .._backends.backend import ANY, Backend
from .._backends.records import Records
from .._backends.wrapper import Wrapper
from .._coding.codec import Unreadable
from .._coding.verbatim import SealedMeta, Verbatim
from .._record.documents import new_write_id
from .._record.meta import ResultMeta, whole
from .._runtime.clocks import wall
from ..errors import SerializationError

#: The keys that every record has, in their order.
_ALWAYS: Final = ("status", "result", "traceback", "children", "date_done")


class Copies:
    """
    Makes the records to write. The bytes stay as they are if the target can keep them.

    Args:
        source: where the records are from.
        target: where they are going.
    """

    def __init__(self, source: Backend[ResultMeta], target: Backend[ResultMeta]) -> None:
        self._codec = target.codec
        #: The stores that keep bytes, each by its lifting; `None` for a store of fields.
        self._from, self._to = _records(source), _records(target)

    def of(self, meta: ResultMeta, seconds: float | None) -> ResultMeta:
        """
        Return the copy of *meta*, which lives for *seconds*. Raises the error of a record that has to be
        read and cannot be.
        """
        data = self._data(meta)
        if data is not None and self._stays(meta, data):
            if self._to is not None:
                beside = {"status": meta.status, "task_id": meta.task_id}
                return self._codec.written(Verbatim(beside, data))
            if self._codec.is_sealed(data):
                return self._codec.written(Verbatim(_beside(meta), data))
        return self._codec.written(_document(meta, seconds))

    def copy_group(self, group_id: str, seconds: float | None) -> bool:
        """Copy the bytes of a group, and return whether that was possible."""
        data = self._from and self._to and self._from.group_data(group_id)
        if not data or isinstance(data, Unreadable) or self._to is None:
            return False
        if self._codec.guarded:
            try:
                self._codec.decode_group(group_id, data)
            except SerializationError:
                return False
        self._to.put_group_data(group_id, data, unless=ANY, expires=seconds)
        return True

    def _data(self, meta: ResultMeta) -> bytes | None:
        """Return the bytes of the record, or its envelope, if there are any."""
        if isinstance(meta, SealedMeta):
            envelope = meta.fields.get("result")
            return envelope if self._codec.is_sealed(envelope) else None
        data = None if self._from is None else meta.version
        return None if isinstance(data, Unreadable) else data

    def _stays(self, meta: ResultMeta, data: bytes) -> bool:
        """Whether readers of the target can read *data*, or nobody here can."""
        if not self._codec.guarded:
            return True
        return self._codec.decode(meta.task_id, data).error is None or meta.error is not None


def _records(backend: object) -> Records | None:
    while isinstance(backend, Wrapper) and not isinstance(backend, Records):
        backend = getattr(backend, "backend", None)
    return backend if isinstance(backend, Records) else None


def _beside(meta: ResultMeta) -> Mapping[str, Any]:
    """Return what a store of fields keeps beside an envelope."""
    if isinstance(meta, SealedMeta):
        return {**meta.fields, "status": meta.status, "task_id": meta.task_id}
    return whole(meta)


def _document(meta: ResultMeta, seconds: float | None) -> Mapping[str, Any]:
    values = whole(meta)
    document = {key: values.pop(key, None) for key in _ALWAYS}
    document |= {key: value for key, value in values.items() if value is not None}
    document["task_id"] = meta.task_id
    # A repeated write recognises its own record by this word, which Celery does not write.
    document.setdefault("write_id", new_write_id())
    document.pop("expires_at", None)
    if seconds is not None:
        document["expires_at"] = _end(seconds)
    for key in ("date_done", "date_started"):
        if isinstance(document.get(key), datetime):
            document[key] = document[key].isoformat()
    return document


def _end(seconds: float) -> str | None:
    try:
        return (datetime.fromtimestamp(wall(), UTC) + timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        return None
