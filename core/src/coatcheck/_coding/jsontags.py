"""
Types that JSON lacks, as tagged dicts.

Types that kombu knows get kombu's tag: a dict of exactly `__type__` and `__value__`
(kombu/utils/json.py). Other types get a tag with a third key: kombu's reader leaves that a plain
dict, while it fails on unknown tags of its own form.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import cache
from itertools import chain, islice, repeat
from math import isfinite
from operator import contains
from types import ModuleType
from typing import Any, Final

from . import limits

TYPE: Final = "__type__"
VALUE: Final = "__value__"
#: The third key of our own tags.
OURS: Final = "__coatcheck__"

#: The plain types of JSON.
PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_LISTS: Final = frozenset({list, tuple})
_JSON: Final = PLAIN | {dict, list}
_JSON_AND_TUPLES: Final = _JSON | {tuple}
_TEXT: Final = frozenset({str})
_LIST: Final = frozenset({list})
_CONTAINERS: Final = frozenset({set, frozenset, tuple})
#: The number of items from which a look at all of them first is faster.
_MANY: Final = 16
_DEEP: Final = 32
#: How deep a value may be nested. A tag takes up to three levels of JSON for one level, and a decoder
#: up to a frame for each of these.
MAX_DEPTH: Final = 200
_TOO_MANY: Final = 1_000_000
_flat: Final = chain.from_iterable


class UnencodableError(TypeError):
    """A type that has no tag."""


class TooDeepError(RecursionError):
    """A value is nested deeper than `MAX_DEPTH`, or contains itself."""


def to_plain(value: Any, *, strict: bool, look: bool = True, room: int = MAX_DEPTH) -> Any:
    """
    Return *value* with tags for types that JSON lacks; the same object if nothing changes.

    Types must match exactly: a subclass would come back as its base. Tuples get a tag under
    *strict*; otherwise JSON makes lists of them. With *look* a quick look at all of *value* comes
    first. Raises `TooDeepError` for more than *room* levels.
    """
    kind = type(value)
    if kind is dict:
        if not _TEXT.issuperset(map(type, value)) or TYPE in value:
            return dict_to_plain(value, to_plain, strict=strict, room=room)
        items = value.values()
    elif kind is list or (isinstance(value, tuple) and not strict):
        items = value
    else:
        return value if kind in PLAIN else tagged(value, to_plain, strict=strict, room=room)
    if not room:
        raise TooDeepError
    if PLAIN.issuperset(map(type, items)):
        return value
    if look and len(items) >= _MANY:
        kept = is_json(value, strict=strict, room=room)
        if kept:
            return value
        look = kept is not None
    room -= 1
    # Most items are plain. This test saves a call for each.
    if kind is dict:
        return {
            key: item
            if type(item) in PLAIN
            else to_plain(item, strict=strict, look=look, room=room)
            for key, item in value.items()
        }
    return [
        i if type(i) in PLAIN else to_plain(i, strict=strict, look=look, room=room) for i in items
    ]


def is_json(
    value: object, *, strict: bool, finite: bool = False, room: int = MAX_DEPTH
) -> bool | None:
    """
    Whether *value* is known to need no tags at any depth. `None` if it has too many items.

    `False` for more than 32 levels, and with *finite* also for NaN and the infinities.

    Works level by level, so that the interpreter runs once for each level and not for each item. Without it
    150 rows take 1.5 to 1.7 times as long to write (`tests/bench/fast_paths.py`).
    """
    kept = _JSON if strict else _JSON_AND_TUPLES
    level: list[Any] = [value]
    for _ in range(min(_DEEP, room + 1)):
        kinds = set(map(type, level))
        if finite and float in kinds and not _are_finite(level):
            return False
        if kinds <= PLAIN:
            return True
        if not kinds <= kept:
            return False
        dicts = [item for item in level if type(item) is dict] if dict in kinds else []
        if not _TEXT.issuperset(map(type, _flat(dicts))) or any(map(contains, dicts, repeat(TYPE))):
            return False
        lists = [item for item in level if type(item) in _LISTS] if kinds & _LISTS else []
        # A list that contains itself a thousand times would fill the memory within three levels.
        items = islice(chain(_flat(map(dict.values, dicts)), _flat(lists)), _TOO_MANY)
        level = list(items)
        if len(level) == _TOO_MANY:
            return None
    return False


def _are_finite(items: list[Any]) -> bool:
    return all(map(isfinite, [item for item in items if type(item) is float]))


def tagged(value: Any, inner: Callable[..., Any], *, strict: bool, room: int) -> Any:
    """Return the tag of *value*; *inner* is called like `to_plain` for its items."""
    kind = type(value)
    if kind in _CONTAINERS:
        if not room:
            raise TooDeepError
        if kind is not tuple:
            limits.hashable(value)
        # Members of sets must come back hashable, so a tuple among them keeps its type.
        strict |= kind is not tuple
        items = [i if type(i) in PLAIN else inner(i, strict=strict, room=room - 1) for i in value]
        return {TYPE: kind.__name__, VALUE: items, OURS: 1}
    jsontypes = _jsontypes()
    if strict:
        jsontypes.check_zone(value)
    if kind in jsontypes.KOMBU_ENCODERS:
        name, plain = jsontypes.KOMBU_ENCODERS[kind](value)
        return {TYPE: name, VALUE: plain}
    if kind in jsontypes.ENCODERS:
        name, plain = jsontypes.ENCODERS[kind](value)
        return {TYPE: name, VALUE: plain, OURS: 1}
    raise UnencodableError(_advice(kind, {*jsontypes.KOMBU_ENCODERS, *jsontypes.ENCODERS}))


@cache
def _jsontypes() -> ModuleType:
    # It imports decimal and uuid, which few values need. The cache is faster than the statement.
    from . import jsontypes  # noqa: PLC0415

    return jsontypes


def _advice(kind: type, tagged: Container[type]) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    for base in kind.__mro__[1:-1]:
        if base in PLAIN or base in tagged or base in (dict, list, tuple):
            return f"{name} would come back as {base.__name__}; convert it first"
    return f"there is no tag for the type {name}; {way_out(kind)}"


def way_out(kind: type) -> str:
    """Return advice how to store a value of the type *kind*."""
    names = {f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__}
    if hasattr(kind, "__dataclass_fields__"):
        return "store dataclasses.asdict(value), or list the class in the option types="
    if "enum.Enum" in names:
        return "store value.value, or value.name"
    if {"pathlib.PurePath", "pathlib._local.PurePath"} & names:
        return "store str(value)"
    if hasattr(kind, "model_dump"):
        return "store value.model_dump(mode='json')"
    if "numpy.ndarray" in names or "numpy.generic" in names:
        return "store value.tolist()"
    return "convert it to plain data first, or choose a serializer that keeps it"


def dict_to_plain(
    value: dict[Any, Any], inner: Callable[..., Any], *, strict: bool, room: int
) -> Any:
    """Return the tag of a dict that cannot stand for itself; *inner* as for `tagged`."""
    if not room:
        raise TooDeepError
    if len(value) > limits.FEW:
        limits.hashable(value)
    room -= 1
    pairs = [
        [
            key if type(key) in PLAIN else inner(key, strict=True, room=room),
            item if type(item) in PLAIN else inner(item, strict=strict, room=room),
        ]
        for key, item in value.items()
    ]
    return {TYPE: "dict", VALUE: pairs, OURS: 1}


#: Returns the function that reads a dict as a tag; `None` for other dicts and unknown tags.
Decoder = Callable[[dict[str, Any]], Callable[[Any], Any] | None]


def decoder(value: dict[str, Any]) -> Callable[[Any], Any] | None:
    """Return the function that reads a tag of kombu's or ours; `None` for other dicts."""
    name = value.get(TYPE)
    if not isinstance(name, str) or VALUE not in value:
        return None
    found: Callable[[Any], Any] | None = None
    if len(value) == 2:
        found = _jsontypes().KOMBU_DECODERS.get(name)
    elif len(value) == 3 and OURS in value:
        found = _jsontypes().DECODERS.get(name)
    return found


def revive(value: Any, decoder: Decoder = decoder) -> Any:
    """
    Return *value* with its tags replaced by the values they stand for.

    An unknown tag stays a plain dict. A damaged value of a known tag may raise any exception.
    """
    kind = type(value)
    if kind is list:
        return [item if type(item) in PLAIN else revive(item, decoder) for item in value]
    if kind is not dict:
        return value
    decode = decoder(value) if TYPE in value else None
    if decode is None:
        return {
            key: item if type(item) in PLAIN else revive(item, decoder)
            for key, item in value.items()
        }
    inner = value[VALUE]
    if value[TYPE] != "dict" or OURS not in value or not _are_lists(inner):
        return decode(inner if type(inner) in PLAIN else revive(inner, decoder))
    # Without a call for the list and for each pair: dicts may be nested as deep as lists.
    return decode(
        [
            [item if type(item) in PLAIN else revive(item, decoder) for item in pair]
            for pair in inner
        ]
    )


def _are_lists(value: Any) -> bool:
    return type(value) is list and _LIST.issuperset(map(type, value))
