"""
Records as rows: Celery's columns and ours. No I/O.

The serializer encodes `result`, `failure` and other columns without a fixed type, as Celery encodes
`result`. Values that do not fit into their column (text that is too long or has a NUL, numbers of another
type) are in `more`, together with the keys that have no column.

If a record is compressed, signed or encrypted, `result` is the envelope of the whole record. The other columns
are empty, except those that the statements compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from coatcheck.errors import DecodeError, EncodeError, ResultTooLargeError, SerializationError
from coatcheck.plugin import COMPRESSION_MARKER, Codec, ResultMeta, Tree, aware, groups

from . import pickled
from .letters import HASHED, Letters, key_of

_STATUS_LENGTH: Final = 50
#: The lengths of columns of text; `None`: no limit that matters.
_TEXTS: Final[Mapping[str, int | None]] = {
    "traceback": None, "name": 155, "worker": 155, "queue": 155, "parent_id": None,
    "group_id": None, "write_id": 64,
}  # fmt: skip
#: The columns that Celery reads. Characters that they cannot hold are escaped; the value itself is in `more`.
_READABLE: Final = frozenset({"traceback", "name", "worker", "queue"})
_INTEGERS: Final = ("retries", "attempt", "v")
_DATES: Final = ("date_started",)
#: Encoded, or `NULL` if there is no value.
_ENCODED: Final = ("failure", "children", "args", "kwargs", "heartbeat")
#: Always encoded.
_RESULT: Final = "result"
_INTERNAL: Final = frozenset({"task_id", "status", "expires_at", "date_done", _RESULT})
#: All columns that may be encoded; "stamps" is Celery's, and "more" holds keys of ours.
_CODED: Final = frozenset({*_ENCODED, _RESULT, "stamps", "more"})
#: The keys that every record has, so that readers need not check.
_ALWAYS: Final = ("status", "result", "traceback", "children", "date_done")
#: The columns, apart from dates, that are read from our rows and from Celery's, with their types.
_OURS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("status", *_TEXTS), str),
    **dict.fromkeys(_CODED, bytes),
    **dict.fromkeys(_INTEGERS, int),
}
_CELERYS: Final[Mapping[str, type]] = {
    name: _OURS[name]
    for name in (
        "status", "result", "traceback", "name", "worker", "queue", "retries", "children", "args",
        "kwargs", "stamps",
    )
}  # fmt: skip

#: The columns that a write sets, in this order. The server computes `expires_at`.
COLUMNS: Final = (
    "task_id", "status", "result", "date_done", "traceback", "children", "name", "args", "kwargs",
    "worker", "retries", "queue", "full_id", "parent_id", "group_id", "write_id", "failure",
    "date_started", "heartbeat", "attempt", "v", "serializer", "more", "done_at",
)  # fmt: skip

Row = Mapping[str, Any]


class Record(NamedTuple):
    """A record as it is sent, encoded once."""

    #: As in the column.
    key: str
    write_id: str | None
    #: By column; those that are `NULL` may be left out.
    values: dict[str, Any]


def encoded(meta: ResultMeta, codec: Codec, limit: int | None, letters: Letters) -> Record:
    """Return *meta* as a row. Raises `EncodeError`, or `ResultTooLargeError` over *limit*."""
    document = meta.document
    values: dict[str, Any] = {}
    envelope = codec.sealed(document)
    if envelope is None:
        _fill(values, document, codec, letters)
    else:
        looked_at = ("write_id", "v")
        values |= {
            name: value for name in looked_at if _fits(name, value := document.get(name), letters)
        }
        values["result"] = envelope
    values["status"] = _status(meta, letters)
    values["date_done"] = values["done_at"] = aware(document.get("date_done"))
    values["serializer"] = codec.serializer.name
    values["task_id"] = key_of(meta.task_id, letters)
    if values["task_id"] != meta.task_id:
        values["full_id"] = _full_id(meta.task_id, values["task_id"])
    _check_size(meta.task_id, values, limit)
    return Record(values["task_id"], meta.write_id, values)


def _fill(
    values: dict[str, Any], document: Mapping[str, Any], codec: Codec, letters: Letters
) -> None:
    more: dict[str, Any] = {}
    for name, value in document.items():
        if value is None or name in _INTERNAL:
            continue
        if name in _ENCODED:
            values[name] = _blob(codec, name, value)
        elif name in _DATES and aware(value) is not None:
            values[name] = aware(value)
        elif _fits(name, value, letters):
            values[name] = value
        else:
            more[name] = value
            if name in _READABLE and type(value) is str:
                values[name] = letters.escaped(value)[: _TEXTS[name]]
    values["result"] = _blob(codec, _RESULT, document.get(_RESULT))
    if more:
        values["more"] = _blob(codec, "more", more)


def encoded_group(
    group_id: str, tree: Tree, codec: Codec, limit: int | None, letters: Letters
) -> Record:
    """Return a group as a row. Raises as `encoded` does."""
    key = key_of(group_id, letters)
    values = {
        "taskset_id": key,
        "full_id": _full_id(group_id, key),
        "result": codec.sealed_group(group_id, tree) or _blob(codec, _RESULT, tree),
        "date_done": datetime.now(UTC),
        "serializer": codec.serializer.name,
    }
    _check_size(group_id, values, limit)
    return Record(key, None, values)


def _full_id(id_: str, key: str) -> bytes | None:
    # As bytes: it may hold a NUL.
    return None if key == id_ else id_.encode()


def _blob(codec: Codec, name: str, value: Any) -> bytes:
    data = codec.encode_value(name, value)
    return data.encode() if isinstance(data, str) else data


def _fits(name: str, value: Any, letters: Letters) -> bool:
    """Return whether *name* is a column of text or numbers that can hold *value*."""
    if name in _INTEGERS:
        return type(value) is int and -(2**31) <= value < 2**31
    return name in _TEXTS and _is_text(value, _TEXTS[name], letters)


def _is_text(value: Any, limit: int | None, letters: Letters) -> bool:
    return type(value) is str and (limit is None or len(value) <= limit) and letters.holds(value)


def _status(meta: ResultMeta, letters: Letters) -> str:
    if not _is_text(meta.status, _STATUS_LENGTH, letters):
        holds = f"the column holds {_STATUS_LENGTH} characters of {letters.encoding}"
        raise EncodeError("sql", "status", holds)
    return meta.status


def _check_size(id_: str, values: Mapping[str, Any], limit: int | None) -> None:
    if limit is None:
        return
    size = sum([len(value) for value in values.values() if isinstance(value, (str, bytes))])
    if size > limit:
        raise ResultTooLargeError(id_, size=size, limit=limit)


# -- reading ----------------------------------------------------------------------------------


def decoded(row: Row, codec: Codec, zone: ZoneInfo | None) -> ResultMeta:
    """
    Return the snapshot of *row*. No content makes it raise.

    *zone* is the one of Celery's dates, or `None` if the database returns dates with their zone.
    """
    ours = bool(row.get("sealed"))
    task_id: str = row.get("asked") or id_of(row, "task_id") or ""
    document: dict[str, Any] = dict.fromkeys(_ALWAYS)
    kinds = _OURS if ours else _CELERYS
    coded = []
    for name, value in row.items():
        kind = None if value is None else kinds.get(name)
        if kind is None:
            continue
        exact = type(value) is kind and (not isinstance(value, str) or value.isascii())
        document[name] = value if exact else _read(name, value)
        if kind is bytes:
            coded.append(name)
    serializer = _read("serializer", row.get("serializer")) if ours else None
    if serializer is None:
        coded = [name for name in coded if not _unpickle(document, name)]
        document |= {name: _as_celery_reads(document[name], codec) for name in coded}
    if ours:
        _fill_dates(document, row)
    if document["date_done"] is None:
        document["date_done"] = aware(row.get("date_done"), zone or UTC)
    for name in ("stamps", "more"):
        if name in document:
            document |= _unpacked(document, coded, name, codec, serializer)
    document["task_id"] = task_id
    return codec.decode_fields(
        task_id, document, coded, serializer=serializer, version=version_of(row)
    )


def _as_celery_reads(data: bytes, codec: Codec) -> str | bytes:
    """
    Return a value of an unknown serializer such that the reader's own is used: as text if that writes text.
    Pickles are recognised.
    """
    if not codec.serializer.text or pickled.recognised(data) or data.startswith(COMPRESSION_MARKER):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _fill_dates(document: dict[str, Any], row: Row) -> None:
    # Celery's column `date_done` has no zone, and fewer digits.
    for name, column in (("date_done", "done_at"), ("date_started",) * 2, ("expires_at",) * 2):
        value = row.get(column)
        if value is not None:
            document[name] = aware(value)


def _unpacked(
    document: dict[str, Any], coded: list[str], name: str, codec: Codec, serializer: str | None
) -> dict[str, Any]:
    """Return the keys inside the field *name*, which is removed. A damaged field stays."""
    data = document.get(name)
    if name in coded and isinstance(data, (str, bytes)):
        try:
            data = codec.decode_value("", data, serializer=serializer)
        except SerializationError:
            return {}
        coded.remove(name)
    document.pop(name, None)
    return data if isinstance(data, dict) else {}


def version_of(row: Row) -> dict[str, Any]:
    """Return the columns that identify exactly this record, even if Celery wrote over ours."""
    return {name: row.get(name) for name in ("write_id", "status", "date_done", "result")}


def id_of(row: Row, column: str) -> str | None:
    """
    Return the id of a row, although *column* may hold a hash. Return `None` if no id leads to the row.
    """
    key = row.get(column)
    if not isinstance(key, str) or _text(key) != key:
        return None
    full = _data(row.get("full_id"))
    if isinstance(full, bytes) and key.startswith(HASHED):
        return full.decode("utf-8", "replace")
    return key


def _read(name: str, value: Any) -> Any:
    """Return the *value* of a column in the column's type. SQLite stores any type."""
    value = _data(value)
    if value is None or name in _INTEGERS:
        return value if type(value) is int else None
    if name in _CODED:
        return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    return _text(value if isinstance(value, (str, bytes)) else str(value))


def _text(value: str | bytes) -> str:
    """Return *value* with U+FFFD for wrong bytes, such as those of another encoding."""
    if isinstance(value, str):
        if value.isascii():
            return value
        value = value.encode("utf-8", "surrogateescape")
    return value.decode("utf-8", "replace")


def _data(value: Any) -> Any:
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


def _unpickle(document: dict[str, Any], name: str) -> bool:
    """
    Replace a pickle, as Celery up to 5.6 writes it, by its plain data. Return `False` if it holds more.
    """
    data = document[name]
    if not pickled.recognised(data):
        return False
    try:
        document[name] = pickled.loads(data)
    except pickled.Refused:
        return False
    return True


def decoded_tree(group_id: str, row: Row, codec: Codec) -> Tree:
    """Return a group as nested pairs. Raises `SerializationError`."""
    result = _read(_RESULT, row.get(_RESULT))
    if codec.is_sealed(result):
        return codec.decode_group_tree(group_id, result)
    return groups.tree_from_document(group_id, _group(group_id, row, codec))


def decoded_group(group_id: str, row: Row, codec: Codec) -> list[str]:
    """Return the ids of a group's tasks. Raises `SerializationError`."""
    result = _read(_RESULT, row.get(_RESULT))
    if codec.is_sealed(result):
        return codec.decode_group(group_id, result)
    return groups.from_document(group_id, _group(group_id, row, codec))


def _group(group_id: str, row: Row, codec: Codec) -> dict[str, Any]:
    codec.refuse_unsealed(group_id)
    result = _read(_RESULT, row.get(_RESULT))
    serializer = _read("serializer", row.get("serializer")) if row.get("sealed") else None
    if isinstance(result, bytes) and serializer is None and pickled.recognised(result):
        try:
            return {"result": pickled.group(result)}
        except pickled.Refused as error:
            raise DecodeError(group_id, f"its pickle is not read: {error}") from error
    if isinstance(result, bytes):
        data = result if serializer else _as_celery_reads(result, codec)
        result = codec.decode_value(group_id, data, serializer=serializer)
    return {"result": result}


def size_of(record: Record) -> int:
    """Return the approximate size of *record* in bytes."""
    return sum(len(value) for value in record.values.values() if isinstance(value, (bytes, str)))


def first_and_later(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """
    Return the first record for each id, and the later records for the same ids. The first ones are in the
    order of their ids, so that no two batches wait for each other.
    """
    first: dict[str, Record] = {}
    later = [r for r in records if first.setdefault(r.key, r) is not r]
    return sorted(first.values(), key=lambda record: record.key), later
