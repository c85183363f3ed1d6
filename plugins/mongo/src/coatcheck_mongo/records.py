"""
Records as documents, with the fields of Celery and ours. No I/O.

The serializer encodes `result` and `failure`, as Celery encodes `result`. Other fields are BSON values. A value
that BSON lacks (integers beyond 64 bits, keys with a NUL, sets, dates with their time zone) is encoded, and its
name is in the field `encoded`. If the record is compressed, signed or encrypted, `result` is the envelope of the
whole record, and the document has no other fields except those that the store needs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument

from coatcheck.errors import DecodeError, EncodeError, ResultTooLargeError
from coatcheck.plugin import TYPE_TAG, Codec, ResultMeta, aware, groups, wall

#: No value in a document may prevent the read of it, or of the rest of its batch.
CODEC_OPTIONS: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace"
)

_ENCODED: Final = ("result", "failure")
_DATES: Final = ("date_done", "date_started")
#: In Celery's order. Its readers need most of them.
_BLANK: Final = dict.fromkeys(
    [
        "status",
        "result",
        "traceback",
        "children",
        "date_done",
        "name",
        "args",
        "kwargs",
        "worker",
        "retries",
        "queue",
    ]
)
#: The id has a field of its own, and the server sets the date.
_LEFT_OUT: Final = frozenset({"task_id", "expires_at"})
#: The fields beside an envelope, with the date.
_LOOKED_AT: Final = ("status", "v", "write_id")
_SCALARS: Final = frozenset({type(None), bool, float, bytes})
#: Types that the driver returns unchanged.
_PLAIN: Final = frozenset({*_SCALARS, str, int})


class Record(NamedTuple):
    """An encoded record, ready to be sent."""

    task_id: str
    write_id: str | None
    body: RawBSONDocument


def size_of(record: Record) -> int:
    return len(record.body.raw)


def encoded(
    meta: ResultMeta, codec: Codec, limit: int | None, end: datetime | None = None
) -> Record:
    """
    Return the document of *meta*, which expires at *end*. Raises `EncodeError`, or `ResultTooLargeError` if it
    has more bytes than *limit*.
    """
    fields = _fields(meta, codec)
    if end is not None:
        fields["expires_at"] = end
    return _sealed(meta.task_id, fields, codec, limit, meta.write_id)


def encoded_group(
    group_id: str, task_ids: Collection[str], codec: Codec, limit: int | None
) -> Record:
    """Return a group in Celery's form: the ids of its tasks, encoded as a list."""
    ids: str | bytes | None = codec.sealed_group(group_id, groups.tree_of(group_id, task_ids))
    if ids is None:
        ids = codec.encode_value("result", list(task_ids))
    fields: dict[str, Any] = {"_id": group_id, "result": ids, "date_done": datetime.now(UTC)}
    _name_serializer(fields, codec)
    return _sealed(group_id, fields, codec, limit, None)


def _sealed(
    task_id: str, fields: dict[str, Any], codec: Codec, limit: int | None, write_id: str | None
) -> Record:
    try:
        data = bson.encode(fields)
    except (BSONError, OverflowError, UnicodeError, RecursionError) as error:
        raise EncodeError(codec.serializer.name, "the record", f"BSON: {error}") from error
    if limit is not None and len(data) > limit:
        raise ResultTooLargeError(task_id, size=len(data), limit=limit)
    return Record(task_id, write_id, RawBSONDocument(data))


def _fields(meta: ResultMeta, codec: Codec) -> dict[str, Any]:
    fields: dict[str, Any] = {"_id": meta.task_id, **_BLANK}
    envelope = codec.sealed(meta.document)
    if envelope is not None:
        plain = {name: meta.document.get(name) for name in _LOOKED_AT}
        return {**fields, **plain, "result": envelope, "date_done": meta.date_done}
    strange = []
    for name, value in meta.document.items():
        if value is None and name != "result":
            fields[name] = None
        elif name in _ENCODED:
            fields[name] = codec.encode_value(name, value)
        elif name in _DATES:
            fields[name] = aware(value)
        elif name in _LEFT_OUT:
            continue
        elif _fits(value):
            fields[name] = value
        else:
            fields[name] = codec.encode_value(name, value)
            strange.append(name)
    if strange:
        fields["encoded"] = strange
    _name_serializer(fields, codec)
    return fields


def _name_serializer(fields: dict[str, Any], codec: Codec) -> None:
    # Text without a name is JSON, as in Celery.
    if codec.serializer.name != "json":
        fields["serializer"] = codec.serializer.name


def _fits(value: Any) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is str:
        return _is_unicode(value)
    if kind is int:
        return bool(-(2**63) <= value < 2**63)
    if kind is list:
        return all(map(_fits, value))
    if kind is dict:
        return all(type(k) is str and _is_key(k) and _fits(v) for k, v in value.items())
    return False


def _is_key(key: str) -> bool:
    # The key of a tag would be taken for a tag if another value in the record has tags.
    return "\0" not in key and key != TYPE_TAG and _is_unicode(key)


def _is_unicode(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def decoded(document: dict[str, Any], codec: Codec) -> ResultMeta:
    """Return the snapshot of *document*, which it changes. No content makes it raise."""
    write_id = document.get("write_id")
    version = write_id if type(write_id) is str else dict(document)
    task_id = document["task_id"] = document.pop("_id")
    serializer = document.pop("serializer", None)
    strange = document.pop("encoded", None)
    for name, value in document.items():
        if type(value) not in _PLAIN:
            document[name] = _plain(value)
    return codec.decode_fields(
        task_id,
        document,
        _ENCODED if strange is None else _names(strange),
        serializer=serializer if type(serializer) is str else None,
        version=version,
    )


def _names(strange: Any) -> tuple[str, ...]:
    names = strange if isinstance(strange, list) else ()
    return (*_ENCODED, *(name for name in names if isinstance(name, str)))


def decoded_group(document: Mapping[str, Any], codec: Codec) -> list[str]:
    """Return the ids of a group's tasks. Raises `SerializationError`."""
    group_id, result = document["_id"], document.get("result")
    serializer = document.get("serializer")
    if codec.is_sealed(result):
        return codec.decode_group(group_id, result)
    codec.refuse_unsealed(group_id)
    if isinstance(result, (str, bytes)):
        name = serializer if isinstance(serializer, str) else None
        result = codec.decode_value(group_id, result, serializer=name)
    if not isinstance(result, list) or not all(isinstance(id_, str) for id_ in result):
        raise DecodeError(group_id, "it is not a group")
    return result


def life_of(document: Mapping[str, Any]) -> float | None:
    """
    Return how many more seconds the record or group lives, by this machine's clock; `inf` for one that
    we keep. Nothing tells how long Celery keeps its own.
    """
    end = aware(document.get("expires_at"))
    if end is None:
        return math.inf if "write_id" in document else None
    return end.timestamp() - wall()


def _plain(value: Any) -> Any:
    """Return *value* with Python's types in place of the driver's, and dates with their zone."""
    kind = type(value)
    if kind is Int64:
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)  # JavaScript's type is text that cannot be hashed
    if kind is datetime:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if kind is list:
        return [_plain(item) for item in value]
    if kind is dict:
        return {key: _plain(item) for key, item in value.items()}
    return value
