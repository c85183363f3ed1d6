"""
Wrappers: objects that do one thing otherwise than the one they hold, and pass on all the rest.
"""

from __future__ import annotations

import inspect
from operator import attrgetter
from typing import Any


class Wrapper:
    """
    Passes on all of a protocol that a subclass does not define, attributes and properties included. ::

        class Counting(Wrapper, Backend[ResultMeta], to="backend"):
            def __init__(self, backend):
                self.backend = backend

    For both sides: what a coroutine method of the wrapped object returns is awaited by the caller. Class
    methods, constants and private names are the wrapper's own.
    """

    def __init_subclass__(cls, *, to: str | None = None, **options: Any) -> None:
        """Pass on to the attribute *to*; without it as the base class does."""
        super().__init_subclass__(**options)
        if to is None:
            return
        for protocol in cls.__mro__[cls.__mro__.index(Wrapper) + 1 : -1]:
            for name, member in vars(protocol).items():
                own = name.startswith("_") or name.isupper() or isinstance(member, classmethod)
                if not own and inspect.getattr_static(cls, name) is member:
                    setattr(cls, name, _passed(name, to))


def _passed(name: str, to: str) -> property:
    def set_(wrapper: object, value: object) -> None:
        setattr(getattr(wrapper, to), name, value)

    return property(attrgetter(f"{to}.{name}"), set_)
