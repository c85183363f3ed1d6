"""
Values as instances of the types that a reader asks for, and as plain data again.

Dataclasses, TypedDicts and enums by the standard library alone. Models of pydantic and structs of msgspec convert
themselves; neither package is imported here.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
import typing
from collections import abc
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from ..errors import ResultTypeError
from .texts import safe_str

#: The containers that a list, tuple or set may become, each with its constructor.
_LISTS: Final[Mapping[Any, Callable[[Any], Any]]] = {
    list: list, set: set, frozenset: frozenset, tuple: tuple, abc.Sequence: list, abc.Iterable: list,
    abc.Collection: list, abc.MutableSequence: list, abc.Set: set, abc.MutableSet: set,
}  # fmt: skip
_MAPPINGS: Final = frozenset({dict, abc.Mapping, abc.MutableMapping})
_ITERABLE: Final = (list, tuple, set, frozenset)


class _Mismatch(Exception):  # noqa: N818 - never leaves this module
    """A value that does not fit, with its path from the inside out."""

    def __init__(self, reason: str, *path: str) -> None:
        super().__init__(reason)
        self.path = list(path)


def converted(task_id: str, value: object, kind: Any) -> Any:
    """Return *value* as a *kind*. Raises `ResultTypeError`, which names the path at fault."""
    try:
        return _as(value, kind)
    except _Mismatch as error:
        path, reason = "".join(["result", *reversed(error.path)]), str(error)
    except RecursionError:
        path, reason = "result", "it is nested too deeply"
    raise ResultTypeError(task_id, path, reason)


def _as(value: Any, kind: Any) -> Any:
    kind = getattr(kind, "__supertype__", kind)  # of a NewType
    origin, args = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (Any, object) or isinstance(kind, typing.TypeVar):
        return value
    if origin in _FORMS:
        return _FORMS[origin](value, args)
    if origin in _LISTS:
        return _list(value, origin, args)
    if origin in _MAPPINGS:
        return _mapping(value, *(args or (Any, Any)))
    return _instance(value, types.NoneType if kind is None else origin)


def _instance(value: Any, kind: Any) -> Any:
    if not isinstance(kind, type):
        raise _Mismatch(f"{kind!r} is no type that can be checked")
    if hasattr(kind, "__required_keys__"):  # a TypedDict, of typing_extensions too
        return _fields(value, kind, _required_of(kind), dict)
    if type(value) is kind or (isinstance(value, kind) and kind not in (int, float)):
        return value
    if kind is float and type(value) is int:
        return float(value)
    if dataclasses.is_dataclass(kind):
        return _fields(value, kind, _required_of(kind), kind)
    if issubclass(kind, enum.Enum):
        return _called(kind, value)
    for package, base, convert in _PACKAGES:
        module = sys.modules.get(package)
        if module is not None and issubclass(kind, getattr(module, base)):
            return convert(module, value, kind)
    raise _Mismatch(f"it is {_told(value)}, not {_name(kind)}")


def _literal(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return value
    raise _Mismatch(f"it is {_told(value)}, none of {', '.join(map(repr, choices))}")


def _union(value: Any, arms: tuple[Any, ...]) -> Any:
    if type(value) in arms or (value is None and types.NoneType in arms):
        return value
    fits, reasons = [], []
    for arm in arms:
        try:
            fits.append(_as(value, arm))
        except _Mismatch as error:
            reasons.append(error)
    if len(fits) > 1:
        names = ", ".join(map(_name, arms))
        raise _Mismatch(f"it fits several of {names}: ask for one of them")
    if fits:
        return fits[0]
    # With `None` there is most often one other type, whose reason says more.
    others = [e for arm, e in zip(arms, reasons, strict=True) if arm is not types.NoneType]
    if len(others) == 1:
        raise others[0]
    raise _Mismatch(f"it is {_told(value)}, none of {', '.join(map(_name, arms))}")


def _list(value: Any, origin: Any, args: tuple[Any, ...]) -> Any:
    if not isinstance(value, _ITERABLE):
        raise _Mismatch(f"it is {_told(value)}, not {_name(origin)}")
    make = _LISTS[origin]
    if make is tuple and args and args[-1] is not ...:
        kinds = args if args != ((),) else ()
        if len(value) != len(kinds):
            raise _Mismatch(f"it has {len(value)} items, not {len(kinds)}")
    else:
        kinds = (args[0] if args else Any,) * len(value)
    items = [_at(f"[{n}]", item, kind) for n, (item, kind) in enumerate(zip(value, kinds))]  # noqa: B905
    return _called(make, items)


def _mapping(value: Any, key_kind: Any, kind: Any) -> Any:
    if not isinstance(value, Mapping):
        raise _Mismatch(f"it is {_told(value)}, not a dict")
    return {
        _at(f"[key {key!r}]", key, key_kind): _at(f"[{key!r}]", item, kind)
        for key, item in value.items()
    }


def _fields(value: Any, kind: Any, required: frozenset[str], make: Callable[..., Any]) -> Any:
    # Other keys are left out: writers may be newer than their readers.
    if not isinstance(value, Mapping):
        raise _Mismatch(f"it is {_told(value)}, not the data of {_name(kind)}")
    for name in required:
        if name not in value:
            raise _Mismatch(f"{_name(kind)} needs it, and it is not there", f".{name}")
    hints = _hints_of(kind)
    return _called(make, **{n: _at(f".{n}", value[n], hints[n]) for n in hints if n in value})


def _called(make: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    try:
        return make(*args, **fields)
    except (TypeError, ValueError) as error:  # its own checks
        raise _Mismatch(safe_str(error, 200)) from error


def _at(step: str, value: Any, kind: Any) -> Any:
    try:
        return _as(value, kind)
    except _Mismatch as error:
        error.path.append(step)
        raise


@cache
def _hints_of(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    if not dataclasses.is_dataclass(kind):
        return hints
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


@cache
def _required_of(kind: Any) -> frozenset[str]:
    if not dataclasses.is_dataclass(kind):
        # Python itself does not see these marks in annotations that are text.
        marks = {name: typing.get_origin(hint) for name, hint in _hints_of(kind).items()}
        left = {name for name, mark in marks.items() if mark is typing.NotRequired}
        asked = {name for name, mark in marks.items() if mark is typing.Required}
        return frozenset((kind.__required_keys__ | asked) - left)
    without = dataclasses.MISSING
    return frozenset(
        field.name
        for field in dataclasses.fields(kind)
        if field.init and field.default is without and field.default_factory is without
    )


def _model(pydantic: Any, value: Any, kind: Any) -> Any:
    try:
        return kind.model_validate(value)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        steps = [f".{s}" if isinstance(s, str) else f"[{s}]" for s in first["loc"]]
        raise _Mismatch(first["msg"], "".join(steps)) from error


def _struct(msgspec: Any, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        raise _Mismatch(reason, path.removesuffix("`")) from error


def _within(value: Any, args: tuple[Any, ...]) -> Any:
    return _as(value, args[0])


#: Types that are no classes, with the functions that read their arguments.
_FORMS: Final[Mapping[Any, Callable[[Any, tuple[Any, ...]], Any]]] = {
    typing.Annotated: _within, typing.Required: _within, typing.NotRequired: _within,
    typing.Literal: _literal, typing.Union: _union, types.UnionType: _union,
}  # fmt: skip
#: Packages whose classes convert themselves, with the base of these and the function that does it.
_PACKAGES: Final = (("pydantic", "BaseModel", _model), ("msgspec", "Struct", _struct))


def _told(value: Any) -> str:
    return "None" if value is None else f"a value of the type {_name(type(value))}"


def _name(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else str(kind)
