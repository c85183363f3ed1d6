"""
The types that have a tag in JSON, see `jsontags`: how each is written and read.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from .limits import FEW, hashable

#: Returns the tag's name and value. Raises `TypeError` for a value that it cannot keep.
Encode = Callable[[Any], tuple[str, object]]
Decode = Callable[[Any], object]

_NO_TIME: Final = timedelta(0)
_SECOND: Final = timedelta(seconds=1)


def _bytes(value: bytes) -> tuple[str, str]:
    try:
        return "bytes", value.decode()
    except UnicodeDecodeError:
        return "base64", base64.b64encode(value).decode()


def _moment(value: datetime | time) -> tuple[str, str]:
    offset = value.utcoffset()
    # Python reads an offset of less than a second as UTC.
    lost = value.tzinfo is not None if offset is None else _NO_TIME < abs(offset) < _SECOND
    if lost:
        raise TypeError("its time zone has no offset that could be kept")
    return type(value).__name__, value.isoformat()


def check_zone(value: object) -> None:
    """Raise `TypeError` for a time whose zone would come back as a mere offset."""
    if isinstance(value, (datetime, time)) and type(value.tzinfo) not in (type(None), timezone):
        raise TypeError("of its time zone only the offset would come back")


def _list(value: object) -> list[Any]:
    """Return *value*, if it is a list: of text, for one, each character would become an object."""
    if type(value) is not list:
        raise TypeError(f"its value is a {type(value).__name__}, not a list")
    return value


def _dict(value: Any) -> dict[Any, Any]:
    if len(_list(value)) > FEW:
        hashable([key for key, _ in value])
    return dict(value)


#: kombu's tags, by exact type, and its ways of reading them.
KOMBU_ENCODERS: Final[Mapping[type, Encode]] = {
    datetime: _moment,
    date: lambda value: ("date", value.isoformat()),
    time: _moment,
    Decimal: lambda value: ("decimal", str(value)),
    UUID: lambda value: ("uuid", {"hex": value.hex}),
    bytes: _bytes,
}
KOMBU_DECODERS: Final[Mapping[str, Decode]] = {
    "datetime": datetime.fromisoformat,
    "date": lambda value: datetime.fromisoformat(value).date(),
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": lambda value: UUID(**value),
    "bytes": lambda value: value.encode(),
    "base64": lambda value: base64.b64decode(value.encode()),
}
#: Ours.
ENCODERS: Final[Mapping[type, Encode]] = {
    timedelta: lambda value: ("timedelta", [value.days, value.seconds, value.microseconds]),
    complex: lambda value: ("complex", [value.real, value.imag]),
}
DECODERS: Final[Mapping[str, Decode]] = {
    "dict": _dict,
    "set": lambda value: set(hashable(_list(value))),
    "frozenset": lambda value: frozenset(hashable(_list(value))),
    "tuple": lambda value: tuple(_list(value)),
    "timedelta": lambda value: timedelta(*_list(value)),
    "complex": lambda value: complex(*_list(value)),
}
