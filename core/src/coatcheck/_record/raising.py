"""
From plain data to an exception.

Nothing here imports or calls a name from a stored record. An exception is raised again only as a
builtin type, a class that the reader lists as trusted, or a subclass of `TaskError`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from .._runtime.bare import CLASS, STATE, dict_of
from .._runtime.interruptions import pass_on_interruption
from ..errors import ConfigurationError, TaskError, TaskRevokedError, WorkerLostError
from .builtin_types import BUILTIN_TYPES, layout_of, set_slot, slots_of, straighten

if TYPE_CHECKING:
    from .failures import Failure

_MODULE: Final[Any] = vars(ModuleType)
#: Stored attributes must not replace these methods: code that raises an exception again calls them.
_METHODS: Final = frozenset({"add_note", "with_traceback"})
#: Python turns these into a RuntimeError where they leave a generator or a coroutine.
_LOOP_ENDS: Final = (StopIteration, StopAsyncIteration)
#: Raised only as a `TaskError`, so that they cannot be taken for our own or for the loop's.
_MISTAKABLE: Final = (*_LOOP_ENDS, TimeoutError, ConnectionError)

#: Our own errors, by the names that we and Celery store them under.
OWN_TYPES: Final[Mapping[tuple[str, str], type[TaskError]]] = {
    ("celery.exceptions", "TaskRevokedError"): TaskRevokedError,
    ("coatcheck.errors", "TaskRevokedError"): TaskRevokedError,
    ("coatcheck.errors", "TaskError"): TaskError,
    ("coatcheck.errors", "WorkerLostError"): WorkerLostError,
    ("billiard.exceptions", "WorkerLostError"): WorkerLostError,
}


class RemoteTraceback(Exception):  # noqa: N818 - shown as the cause, in the terminal
    """Carries a remote traceback as text, so that it is shown with the local one."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class Trusted:
    """
    The exception classes that stored records may name: classes, `"pkg.mod.Class"`, or `"pkg."` for a
    whole package.
    """

    def __init__(self, entries: Iterable[str | type[Exception]] = ()) -> None:
        given = [entries] if isinstance(entries, (str, type)) else list(entries)
        self._names = tuple(entry for entry in given if isinstance(entry, str))
        classes = [entry for entry in given if not isinstance(entry, str)]
        for entry in classes:
            if not isinstance(entry, type) or not issubclass(entry, Exception):
                raise ConfigurationError(
                    f"trusted_exceptions= cannot hold {entry!r}: give subclasses of Exception, "
                    "'package.module.Class', or 'package.' for all below it"
                )
        self._classes = {(entry.__module__, entry.__qualname__): entry for entry in classes}

    def find(self, module: str, qualname: str) -> type[Exception] | None:
        """Return the class if it is trusted and its module is already imported, else `None`."""
        if (module, qualname) in self._classes:
            return self._classes[module, qualname]
        full = f"{module}.{qualname}"
        if not any(full == n or (n.endswith(".") and full.startswith(n)) for n in self._names):
            return None
        found: object = sys.modules.get(module)
        for part in qualname.split("."):
            # `vars`, not `getattr`: a module's or class's own lookup would be a call.
            found = _namespace(found).get(part)
        if not issubclass(type(found), type) or Exception not in CLASS["__mro__"].__get__(found):
            return None
        # An imported name is not the module's own: "myapp." must not reach errors of `subprocess`.
        names = (CLASS["__module__"].__get__(found), CLASS["__qualname__"].__get__(found))
        return cast("type[Exception]", found) if names == (module, qualname) else None


def exception_of(failure: Failure, trusted: Trusted, *, wrap: bool = False) -> Exception:
    """
    Return the exception that stands for this failure.

    The same builtin type; the application's class if *trusted* has it; else a `TaskError`
    that also derives from the nearest builtin type. With *wrap* always a plain `TaskError`.
    """
    error = _make(failure, trusted, wrap=wrap)
    if failure.traceback:
        STATE["__cause__"].__set__(error, RemoteTraceback(failure.traceback))
    notes = [*failure.notes, *([failure.note] if failure.note else [])]
    if notes:
        dict_of(error)["__notes__"] = notes
    return error


def _make(failure: Failure, trusted: Trusted, *, wrap: bool) -> Exception:
    # Without a module, only the name of our own untyped error counts.
    module = failure.module or ("coatcheck.errors" if failure.qualname == "TaskError" else "")
    own = OWN_TYPES.get((module, failure.qualname))
    if wrap or own is not None:
        return (own or TaskError)(failure)
    cls = trusted.find(failure.module, failure.qualname)
    if cls is None and failure.module == "builtins":
        cls = BUILTIN_TYPES.get(failure.qualname)
    error = None if cls is None else _allocate(failure, cls, trusted)
    if error is not None and not issubclass(type(error), _MISTAKABLE):
        return error
    # Not `cls`: OSError's constructor may have chosen a subclass by its first argument.
    base = failure.nearest_builtin if error is None else type(error)
    made = _task_error_class(failure.module, failure.qualname, _derivable(base))
    error = _allocate(failure, made, trusted)
    assert error is not None  # noqa: S101 - only its builtin base is in C
    dict_of(error)["failure"] = failure
    return error


def _allocate(failure: Failure, cls: type[Exception], trusted: Trusted) -> Exception | None:
    """
    Create an instance of *cls* without running any constructor except that of a builtin type.

    Return `None` if that is impossible: some types in C need their own constructor.
    """
    layout: Any = layout_of(cls)
    slots: dict[str, object] = {}
    try:
        if issubclass(cls, ExceptionGroup):
            error: Exception = layout.__new__(cls, failure.message, _members(failure, trusted))
        elif cls is layout:
            error = _construct(failure, layout)
        else:
            error = layout.__new__(cls)
            # Attributes that a builtin type sets from the same arguments, such as `errno`.
            with suppress(Exception):
                slots = slots_of(_construct(failure, layout))
    except Exception as failed:  # noqa: BLE001 - arguments of the wrong shape, or a type in C
        pass_on_interruption(failed)
        return None
    if cls is not layout:
        STATE["args"].__set__(error, failure.args)
    for name, value in (slots | failure.attributes).items():
        if not name.startswith("__") and name not in _METHODS and not set_slot(error, name, value):
            dict_of(error)[name] = value
    straighten(error)
    return error


def _members(failure: Failure, trusted: Trusted) -> list[Exception]:
    members = [exception_of(member, trusted) for member in failure.exceptions]
    return members or [Exception("members unknown")]


def _construct(failure: Failure, cls: type[Exception]) -> Exception:
    # CPython reads outside of the object if a UnicodeError has a negative position.
    if issubclass(cls, UnicodeError) and any(type(a) is int and a < 0 for a in failure.args):
        raise ValueError("a negative position")
    return cls(*failure.args)


class _RemoteError(TaskError):
    """The base of the classes that are created here."""

    def __init_subclass__(cls) -> None:
        # Replaces the method of a trusted base, which is code of the application.
        pass

    def __reduce__(self) -> tuple[Any, ...]:
        # The class cannot be found by its name: another process creates it again.
        return _remake, (self.failure,)


@lru_cache(maxsize=256)
def _task_error_class(module: str, qualname: str, base: Any) -> type[Exception]:
    name = qualname.rpartition(".")[2]
    if not name.isidentifier():  # stored bytes may say anything
        name = "TaskError"
    return type(
        name,
        (_RemoteError,) if issubclass(_RemoteError, base) else (_RemoteError, base),
        {
            "__module__": module or "coatcheck.errors",
            "__qualname__": qualname or name,
            "__doc__": "A remote exception, under its own name.",
        },
    )


def _remake(failure: Failure) -> Exception:
    return exception_of(failure, Trusted())


def _derivable(cls: type[Exception]) -> Any:
    """
    Return the base for a class that `except` clauses for *cls* should catch, as far as possible.
    """
    if issubclass(cls, _LOOP_ENDS):
        return Exception
    # Deriving from a class with a metaclass would call the metaclass.
    return cls if type(cls) is type else layout_of(cls)


def _namespace(found: object) -> Mapping[str, object]:
    if issubclass(type(found), type):
        return CLASS["__dict__"].__get__(found)  # type: ignore[no-any-return]
    if issubclass(type(found), ModuleType):
        return _MODULE["__dict__"].__get__(found) or {}
    return {}
