"""
From an exception to plain data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .._runtime.bare import (
    GROUP,
    STATE,
    cause_of,
    context_of,
    dict_of,
    is_a,
    items_of,
    module_of,
    mro_of,
    name_of,
    traceback_of,
)
from .._runtime.interruptions import is_of_its_own
from ..errors import TaskError
from .builtin_types import slots_of
from .texts import safely, shortened, text_of

if TYPE_CHECKING:
    from .failures import Failure

#: The most exceptions that one failure holds, and their greatest depth.
MAX_NODES: Final = 200
MAX_DEPTH: Final = 30


class Describer:
    """
    Walks an exception with its causes, contexts and members, each once.

    Args:
        kind: the class of the failures.
    """

    def __init__(self, kind: type[Failure]) -> None:
        self._kind = kind
        self._seen: set[int] = set()

    def describe(self, error: BaseException, depth: int) -> Failure:
        """Return *error*, at nesting depth *depth*, as data."""
        self._seen.add(id(error))
        cls = type(error)
        group = issubclass(cls, BaseExceptionGroup)
        message = GROUP["message"].__get__(error) if group else safely(str, error)
        members = GROUP["exceptions"].__get__(error) if group else ()
        hidden = STATE["__suppress_context__"].__get__(error)
        context = None if hidden else context_of(error)
        return self._kind(
            _module(cls),
            shortened(name_of(cls)),
            message=shortened(message),
            args=STATE["args"].__get__(error),
            bases=[shortened(f"{_module(c)}.{name_of(c)}") for c in mro_of(cls)[1:-1]],
            attributes=_attributes(error),
            notes=[shortened(text_of(n)) for n in items_of(dict.get(dict_of(error), "__notes__"))],
            cause=self._nested(cause_of(error), depth),
            context=self._nested(context, depth),
            exceptions=[nested for m in members if (nested := self._nested(m, depth)) is not None],
        )

    def _nested(self, error: BaseException | None, depth: int) -> Failure | None:
        if error is None or id(error) in self._seen:
            return None
        if depth >= MAX_DEPTH or len(self._seen) >= MAX_NODES:
            return None
        return self.describe(error, depth + 1)


def format_traceback(error: BaseException) -> str:
    """Return the traceback of *error* as Python prints it, bounded in length."""
    import traceback  # noqa: PLC0415 - only failures need it

    try:
        return shortened("".join(traceback.format_exception(error)))
    except BaseException as failed:
        # Python cannot print every SyntaxError, and printing reads attributes, which may run code.
        if not is_of_its_own(failed):
            raise
        lines = traceback.format_tb(traceback_of(error))
        last = f"{name_of(type(error))}: {safely(str, error)}\n"
        return shortened("".join(["Traceback (most recent call last):\n", *lines, last]))


def _attributes(error: BaseException) -> dict[str, object]:
    own = {
        shortened(name): value
        for name, value in dict.items(dict_of(error))
        if is_a(name, str) and not str.startswith(name, "__")
    }
    if is_a(error, TaskError):
        own.pop("failure", None)
    return slots_of(error) | own


def _module(cls: type) -> str:
    return shortened(text_of(module_of(cls)))
