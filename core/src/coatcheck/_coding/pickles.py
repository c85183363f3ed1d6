"""
Reading pickles that name classes which are not installed here.

A reader seldom has all packages of the writer. A missing class gets a stand-in, so that state, dates and the
failure can be read. Only a value that needs the class cannot.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, Final

from .._runtime.interruptions import pass_on_interruption
from . import jsontags

_MARK: Final = "__coatcheck_stand_in__"


def loads(data: bytes) -> tuple[object, bool]:
    """
    Return the object in *data*, and whether it contains a stand-in. Runs any code that the bytes name.
    """
    unpickler = _Unpickler(io.BytesIO(data))
    return unpickler.load(), bool(unpickler.missing)


def checked(value: object) -> object:
    """
    Return *value*, if no stand-in can be in it; otherwise raise `ImportError`, which names one.
    """
    try:
        jsontags.to_plain(value, strict=True)
    except Exception as error:
        pass_on_interruption(error)
        name = next(iter(_names(value)), "something in it")
        raise ImportError(f"{name} cannot be imported here") from error
    return value


def _names(value: object) -> list[str]:
    if hasattr(type(value), _MARK):
        return [f"{type(value).__module__}.{type(value).__qualname__}"]
    items = [*value, *value.values()] if isinstance(value, dict) else value
    if not isinstance(items, (list, tuple, set, frozenset)):
        return []
    return [name for item in items for name in _names(item)]


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.missing: dict[tuple[str, str], type[Exception]] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            key = (module, name)
            return self.missing.setdefault(key, _stand_in(module, name))


def _stand_in(module: str, name: str) -> type[Exception]:
    # An exception, because exceptions are missing most often, and exception groups take nothing else.
    plain = name.rpartition(".")[2]
    names = {"__module__": module, "__qualname__": name, _MARK: True}
    return type(plain, (Exception,), {**names, "__init__": _take, "__setstate__": _set})


def _take(self: Exception, *args: object, **named: object) -> None:
    del self, args, named  # `__new__` kept everything


def _set(self: Exception, state: object) -> None:
    if isinstance(state, dict):
        self.__dict__.update(state)
