"""
Instances of an application's classes as plain data, if the application listed the classes.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from ..errors import ConfigurationError
from .jsontags import MAX_DEPTH, PLAIN

#: The types that every serializer keeps or refuses by itself.
_KEPT: Final = (datetime, date, time, timedelta, Decimal, UUID, bytes)
_ITERABLES: Final = frozenset({list, tuple, set, frozenset})

Plain = Callable[[Any], Any]


def _of_dataclass(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _of_model(value: Any) -> Any:
    return value.model_dump()


def _of_struct(value: Any) -> Any:
    return sys.modules["msgspec"].to_builtins(value, builtin_types=_KEPT)


def _of_member(value: Any) -> Any:
    return value.value


def _way_of(kind: Any) -> Plain:
    """Return the function that makes plain data of an instance of *kind*."""
    if isinstance(kind, type):
        if dataclasses.is_dataclass(kind):
            return _of_dataclass
        if issubclass(kind, enum.Enum):
            return _of_member
        if hasattr(kind, "model_dump"):
            return _of_model
        if hasattr(kind, "__struct_fields__"):
            return _of_struct
    raise ConfigurationError(
        f"the option 'types': {kind!r} is no dataclass, Enum, model of pydantic or struct of msgspec"
    )


class OwnClasses:
    """Turns instances of the classes *kinds*, but not of their subclasses, into plain data."""

    def __init__(self, kinds: Iterable[type]) -> None:
        # A TypedDict is a dict already.
        listed = [kind for kind in kinds if not hasattr(kind, "__required_keys__")]
        self._ways: dict[type, Plain] = {kind: _way_of(kind) for kind in listed}

    def plain(self, value: Any, room: int = MAX_DEPTH) -> Any:
        """
        Return *value* with plain data in place of the instances, at any depth. Levels beyond *room* stay as
        they are: the serializer refuses them.
        """
        kind = type(value)
        if kind in PLAIN or not room:
            return value
        if (way := self._ways.get(kind)) is not None:
            return self.plain(way(value), room - 1)
        if kind is dict:
            return {self.plain(k, room - 1): self.plain(v, room - 1) for k, v in value.items()}
        if kind in _ITERABLES:
            return kind(self.plain(item, room - 1) for item in value)
        return value
