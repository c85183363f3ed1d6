"""
What JSON lacks, as tagged dicts.

kombu's tags where kombu has one: a dict of exactly `__type__` and `__value__`
(kombu/utils/json.py). For the rest a tag with a third key, which kombu's reader leaves alone as
a plain dict where it would fail on an unknown one.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from itertools import chain
from typing import Any, Final

TYPE: Final = "__type__"
VALUE: Final = "__value__"
#: The third key of our own tags.
OURS: Final = "__coatcheck__"

#: The types that JSON has, and that are kept as they are.
PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_TEXT: Final = frozenset({str})
_CONTAINERS: Final = frozenset({set, frozenset, tuple})
#: From how many items on it pays to look at all of them first.
_MANY: Final = 16
_DEEP: Final = 32


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
    if kind in PLAIN:
        return value
    if kind is dict:
        return _dict_to_plain(value, strict=strict)
    if kind is list or (isinstance(value, tuple) and not strict):
        if PLAIN.issuperset(map(type, value)) or _is_json(value):
            return value
        return [to_plain(item, strict=strict) for item in value]
    return _tagged(value, strict=strict)


def _is_json(value: Collection[Any]) -> bool:
    """
    Whether *value* is known to need no tags at any depth: of many items, and not too deep.

    Level by level, so that the interpreter runs once a level and not once an item. What is met
    twice on a level is gone into once, or what contains itself would grow without end.
    """
    if len(value) < _MANY:
        return False
    nested: Collection[Any] = [value]
    for _ in range(_DEEP):
        lists = [item for item in nested if type(item) is list]
        dicts = [item for item in nested if type(item) is dict]
        if len(lists) + len(dicts) < len(nested):
            return False
        texts_only = _TEXT.issuperset(map(type, chain.from_iterable(dicts)))
        if not texts_only or TYPE in set().union(*dicts):
            return False
        items = chain(chain.from_iterable(lists), chain.from_iterable(map(dict.values, dicts)))
        nested = {id(item): item for item in items if type(item) not in PLAIN}.values()
        if not nested:
            return True
    return False


def _tagged(value: Any, *, strict: bool) -> Any:
    kind = type(value)
    if kind in _CONTAINERS:
        # Members of sets must come back hashable, so a tuple among them keeps its type.
        items = [to_plain(item, strict=strict or kind is not tuple) for item in value]
        return {TYPE: kind.__name__, VALUE: items, OURS: 1}
    from . import jsontypes  # noqa: PLC0415 - imports decimal and uuid, which few values need

    if strict:
        jsontypes.check_zone(value)
    if kind in jsontypes.KOMBU_ENCODERS:
        name, plain = jsontypes.KOMBU_ENCODERS[kind](value)
        return {TYPE: name, VALUE: plain}
    if kind in jsontypes.ENCODERS:
        name, plain = jsontypes.ENCODERS[kind](value)
        return {TYPE: name, VALUE: plain, OURS: 1}
    raise UnencodableError(_advice(kind, {*jsontypes.KOMBU_ENCODERS, *jsontypes.ENCODERS}))


def _advice(kind: type, tagged: Container[type]) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    for base in kind.__mro__[1:-1]:
        if base in PLAIN or base in tagged or base in (dict, list, tuple):
            return f"{name} would come back as {base.__name__}; convert it first"
    return f"there is no tag for the type {name}"


def _dict_to_plain(value: dict[Any, Any], *, strict: bool) -> Any:
    if _TEXT.issuperset(map(type, value)) and TYPE not in value:
        if PLAIN.issuperset(map(type, value.values())) or _is_json(value):
            return value
        return {key: to_plain(item, strict=strict) for key, item in value.items()}
    pairs = [[to_plain(k, strict=True), to_plain(v, strict=strict)] for k, v in value.items()]
    return {TYPE: "dict", VALUE: pairs, OURS: 1}


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
    from . import jsontypes  # noqa: PLC0415 - see above

    if len(known) == 2:
        decode = jsontypes.KOMBU_DECODERS.get(name)
    elif len(known) == 3 and OURS in known:
        decode = jsontypes.DECODERS.get(name)
    else:
        return known
    return known if decode is None else decode(known[VALUE])
