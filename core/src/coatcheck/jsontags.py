"""
What JSON lacks, as tagged dicts.

kombu's tags where kombu has one: a dict of exactly `__type__` and `__value__`
(kombu/utils/json.py). For the rest a tag with a third key, which kombu's reader leaves alone as
a plain dict where it would fail on an unknown one.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

TYPE: Final = "__type__"
VALUE: Final = "__value__"
#: The third key of our own tags.
OURS: Final = "__coatcheck__"

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_TEXT: Final = frozenset({str})


class UnencodableError(TypeError):
    """
    A type that has no tag.
    """


def to_plain(value: Any, *, strict: bool) -> Any:
    """
    Return *value* with tags for what JSON lacks; the same object where nothing changes.

    Types are taken exactly: a subclass would come back as its base. Tuples become lists, or
    under *strict* get a tag.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        return _dict_to_plain(value, strict=strict)
    if kind is list or (isinstance(value, tuple) and not strict):
        if _PLAIN.issuperset(map(type, value)):
            return value
        return [to_plain(item, strict=strict) for item in value]
    encode = _ENCODERS.get(kind)
    if encode is not None:
        if strict and isinstance(value, (datetime, time)) and type(value.tzinfo) not in _OFFSETS:
            raise UnencodableError("of its time zone only the offset would come back")
        return encode(value)
    if kind in _CONTAINERS:
        # Members of sets must come back hashable, so a tuple among them keeps its type.
        items = [to_plain(item, strict=strict or kind is not tuple) for item in value]
        return {TYPE: _CONTAINERS[kind], VALUE: items, OURS: 1}
    raise UnencodableError(_advice(kind))


def _advice(kind: type) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    for base in kind.__mro__[1:-1]:
        if base in _PLAIN or base in _ENCODERS or base in (dict, list, tuple):
            return f"{name} would come back as {base.__name__}; convert it first"
    return f"there is no tag for the type {name}"


def _dict_to_plain(value: dict[Any, Any], *, strict: bool) -> Any:
    if _TEXT.issuperset(map(type, value)) and TYPE not in value:
        if _PLAIN.issuperset(map(type, value.values())):
            return value
        return {key: to_plain(item, strict=strict) for key, item in value.items()}
    pairs = [[to_plain(k, strict=True), to_plain(v, strict=strict)] for k, v in value.items()]
    return {TYPE: "dict", VALUE: pairs, OURS: 1}


def _tag(name: str, value: Any) -> dict[str, Any]:
    return {TYPE: name, VALUE: value}


def _bytes_to_plain(value: bytes) -> dict[str, Any]:
    try:
        return _tag("bytes", value.decode())
    except UnicodeDecodeError:
        return _tag("base64", base64.b64encode(value).decode())


def _uuid_to_plain(value: UUID) -> dict[str, Any]:
    return _tag("uuid", {"hex": value.hex})


def _moment_to_plain(value: datetime | time) -> dict[str, Any]:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise UnencodableError("its time zone has no offset that could be kept")
    return _tag(type(value).__name__, value.isoformat())


#: The types of time zones that come back as they are.
_OFFSETS: Final = frozenset({type(None), timezone})
_ENCODERS: Final[Mapping[type, Callable[[Any], dict[str, Any]]]] = {
    datetime: _moment_to_plain,
    date: lambda value: _tag("date", value.isoformat()),
    time: _moment_to_plain,
    Decimal: lambda value: _tag("decimal", str(value)),
    UUID: _uuid_to_plain,
    bytes: _bytes_to_plain,
    timedelta: lambda value: {
        TYPE: "timedelta",
        VALUE: [value.days, value.seconds, value.microseconds],
        OURS: 1,
    },
    complex: lambda value: {TYPE: "complex", VALUE: [value.real, value.imag], OURS: 1},
}
_CONTAINERS: Final[Mapping[type, str]] = {set: "set", frozenset: "frozenset", tuple: "tuple"}

#: kombu's tags, and its ways of reading them.
_KOMBU_DECODERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "datetime": datetime.fromisoformat,
    "date": lambda value: datetime.fromisoformat(value).date(),
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": lambda value: UUID(**value),
    "bytes": lambda value: value.encode(),
    "base64": lambda value: base64.b64decode(value.encode()),
}
_OUR_DECODERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "dict": dict,
    "set": set,
    "frozenset": frozenset,
    "tuple": tuple,
    "timedelta": lambda value: timedelta(*value),
    "complex": lambda value: complex(*value),
}


def revive(value: Any) -> Any:
    """
    Return *value* with its tags turned into the types they stand for.

    An unknown tag stays a plain dict. Raises whatever a known tag's damaged value raises.
    """
    kind = type(value)
    if kind is list:
        return [revive(item) for item in value]
    if kind is not dict:
        return value
    known = {key: revive(item) for key, item in value.items()}
    name = known.get(TYPE)
    if not isinstance(name, str) or VALUE not in known:
        return known
    if len(known) == 2:
        decode = _KOMBU_DECODERS.get(name)
    elif len(known) == 3 and OURS in known:
        decode = _OUR_DECODERS.get(name)
    else:
        return known
    return known if decode is None else decode(known[VALUE])
