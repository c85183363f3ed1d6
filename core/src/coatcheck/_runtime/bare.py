"""
Reading and changing exceptions and classes without running their code.

An exception of an application may refuse to be touched (a frozen dataclass, a `__setattr__` that
raises), and its class or metaclass may give any answer. The functions here use the descriptors of Python's
own types instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

#: The descriptors of classes, of exceptions and of exception groups, by name.
CLASS: Final[Mapping[str, Any]] = type.__dict__
STATE: Final[Mapping[str, Any]] = BaseException.__dict__
GROUP: Final[Mapping[str, Any]] = BaseExceptionGroup.__dict__


def is_a(value: object, kind: type | tuple[type, ...]) -> bool:
    """
    Return whether *value* is an instance of *kind*. Unlike `isinstance`, ignore its `__class__`.
    """
    return issubclass(type(value), kind)


def mro_of(cls: type) -> tuple[type, ...]:
    """Return *cls* and its bases, nearest first."""
    return CLASS["__mro__"].__get__(cls)  # type: ignore[no-any-return]


def name_of(cls: type) -> str:
    """Return the qualified name of *cls*, without its module."""
    return str.__str__(CLASS["__qualname__"].__get__(cls))


def module_of(cls: type) -> object:
    """Return the module name of *cls*, or the object that stands in its place."""
    try:
        found: object = CLASS["__module__"].__get__(cls)
    except AttributeError:
        return None
    return found


def dict_of(error: BaseException) -> dict[str, Any]:
    """Return the attributes of *error*: a dict, or an instance of any subclass of dict."""
    return STATE["__dict__"].__get__(error)  # type: ignore[no-any-return]


def cause_of(error: BaseException) -> BaseException | None:
    """Return the explicit cause of *error*."""
    return STATE["__cause__"].__get__(error)  # type: ignore[no-any-return]


def context_of(error: BaseException) -> BaseException | None:
    """Return the exception that was being handled when *error* was raised."""
    return STATE["__context__"].__get__(error)  # type: ignore[no-any-return]


def traceback_of(error: BaseException) -> TracebackType | None:
    """Return the traceback of *error*."""
    return STATE["__traceback__"].__get__(error)  # type: ignore[no-any-return]


def items_of(value: object) -> list[Any]:
    """Return the items of a list or a tuple; an empty list for any other value."""
    if is_a(value, list):
        return [*list.__iter__(value)]  # type: ignore[arg-type]
    return [*tuple.__iter__(value)] if is_a(value, tuple) else []  # type: ignore[arg-type]


def add_note(error: BaseException, note: str) -> None:
    """Add *note* to *error*, as its `add_note` would."""
    attributes = dict_of(error)
    notes = items_of(dict.get(attributes, "__notes__"))
    dict.__setitem__(attributes, "__notes__", [*notes, note])
