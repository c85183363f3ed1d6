"""
The builtin exception types: their names, how to instantiate them, and their attributes in C.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from .._runtime.bare import CLASS

#: `Exception` and its subclasses among the builtins, by name.
BUILTIN_TYPES: Final[Mapping[str, type[Exception]]] = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, Exception) and value.__name__ == name
}
#: The types whose `__new__` may be called: each decides the memory layout of its subclasses.
_LAYOUTS: Final[Mapping[str, type[BaseException]]] = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}
#: Attributes of builtin exceptions that their `__dict__` does not hold.
_SLOTS: Final[Mapping[type[Exception], tuple[str, ...]]] = {
    OSError: ("errno", "strerror", "filename", "filename2"),
    ImportError: ("name", "path"),
    NameError: ("name",),
    AttributeError: ("name",),
    StopIteration: ("value",),
    SyntaxError: ("msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset"),
}
#: Python's formatting of exceptions relies on these being text, or numbers of lines and columns.
_TEXTS: Final = frozenset({"filename", "msg", "name", "path", "text"})
_PLACES: Final = frozenset({"lineno", "offset", "end_lineno", "end_offset"})
_FARTHEST: Final = 1_000_000


def layout_of(cls: type[BaseException]) -> type[BaseException]:
    """Return the builtin type whose `__new__` can create an instance of *cls*."""
    while _LAYOUTS.get(CLASS["__name__"].__get__(cls)) is not cls:
        cls = CLASS["__base__"].__get__(cls)
    return cls


def slots_of(error: BaseException) -> dict[str, object]:
    """Return the attributes of *error* that C code holds, by name, if they are set."""
    return {
        name: value
        for base, names in _SLOTS.items()
        if issubclass(type(error), base)
        for name in names
        if (value := vars(base)[name].__get__(error)) is not None
    }


def straighten(error: Exception) -> None:
    """
    Reset attributes of *error* that Python could not print, such as a line of source that is not text.
    """
    for name, value in slots_of(error).items():
        fits = (name not in _TEXTS or isinstance(value, str)) and (
            name not in _PLACES or (isinstance(value, int) and abs(value) <= _FARTHEST)
        )
        if not fits and not issubclass(type(error), OSError):
            set_slot(error, name, None)


def set_slot(error: Exception, name: str, value: object) -> bool:
    """
    Set an attribute of *error* that C code holds. Return `False` if *error* has no such attribute.
    """
    for base, names in _SLOTS.items():
        if name in names and issubclass(type(error), base):
            with suppress(TypeError, ValueError):  # of the wrong type: the data keeps it
                vars(base)[name].__set__(error, value)
            return True
    return False
