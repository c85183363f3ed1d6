"""
Failures as data: what an exception was, and what a reader raises for it.

Nothing here imports or calls what a stored record names. An exception is made again only of a
builtin type, of a class that the reader lists as trusted, or of a subclass of `TaskError`.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from types import ModuleType
from typing import Any, Final, cast

from .._runtime.bare import (
    CLASS,
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
from .._runtime.interruptions import is_of_its_own, pass_on_interruption
from ..errors import ConfigurationError, TaskError, TaskRevokedError, WorkerLostError

#: How many exceptions one failure may hold, and how deep they may be nested.
MAX_NODES: Final = 200
MAX_DEPTH: Final = 30
#: How many characters of a traceback or message are kept; the middle goes first.
MAX_TEXT: Final = 100_000

#: `Exception` and its subclasses among the builtins, by name.
BUILTIN_TYPES: Final[Mapping[str, type[Exception]]] = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, Exception) and value.__name__ == name
}
#: The types whose `__new__` may be called: each decides the layout of what derives from it.
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
_MODULE: Final[Any] = vars(ModuleType)
#: What Python's formatting of exceptions takes for granted: these are text, or numbers of columns.
_TEXTS: Final = frozenset({"filename", "msg", "name", "path", "text"})
_PLACES: Final = frozenset({"lineno", "offset", "end_lineno", "end_offset"})
_FARTHEST: Final = 1_000_000
#: What stored attributes must not stand in the way of: whoever raises an exception again calls them.
_METHODS: Final = frozenset({"add_note", "with_traceback"})
#: Python turns these into a RuntimeError where they leave a generator or a coroutine.
_LOOP_ENDS: Final = (StopIteration, StopAsyncIteration)
#: Raised only as a `TaskError`, so that they cannot be taken for our own or for the loop's.
_MISTAKABLE: Final = (*_LOOP_ENDS, TimeoutError, ConnectionError)

#: Our own errors, by the names that we and Celery store them under.
_OWN_TYPES: Final[Mapping[tuple[str, str], type[TaskError]]] = {
    ("celery.exceptions", "TaskRevokedError"): TaskRevokedError,
    ("coatcheck.errors", "TaskRevokedError"): TaskRevokedError,
    ("coatcheck.errors", "TaskError"): TaskError,
    ("coatcheck.errors", "WorkerLostError"): WorkerLostError,
    ("billiard.exceptions", "WorkerLostError"): WorkerLostError,
}

#: What Celery's worker makes of an exception that it cannot pickle.
_WRAPPER: Final = ("celery.utils.serialization", "UnpickleableExceptionWrapper")


class RemoteTraceback(Exception):  # noqa: N818 - shown as the cause, in the terminal
    """
    Carries a remote traceback as text, so that it shows where the local one does.
    """

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class Failure:
    """
    What is known of an exception, as plain data.
    """

    __slots__ = (
        "args",
        "attributes",
        "bases",
        "cause",
        "context",
        "exceptions",
        "message",
        "module",
        "note",
        "notes",
        "qualname",
        "traceback",
    )

    def __init__(
        self,
        module: str,
        qualname: str,
        *,
        message: str = "",
        args: Iterable[Any] = (),
        bases: Iterable[str] = (),
        attributes: Mapping[str, Any] | None = None,
        notes: Iterable[str] = (),
        cause: Failure | None = None,
        context: Failure | None = None,
        exceptions: Iterable[Failure] = (),
        traceback: str | None = None,
        note: str | None = None,
    ) -> None:
        self.module = module
        self.qualname = qualname
        self.message = message
        #: The exception's `args`; what the serializer could not keep is its `repr`.
        self.args = tuple(args)
        #: The qualified names of the base classes, nearest first.
        self.bases = tuple(bases)
        self.attributes = dict(attributes or {})
        self.notes = tuple(notes)
        #: The explicit cause (`raise ... from`), and the implicit context.
        self.cause = cause
        self.context = context
        #: The members of an exception group.
        self.exceptions = tuple(exceptions)
        self.traceback = traceback
        #: Which task, worker and time; added to the exception that a reader gets.
        self.note = note

    def __repr__(self) -> str:
        return f"<Failure {self.summary}>"

    @property
    def type_name(self) -> str:
        """
        The qualified name of the exception's class.
        """
        return f"{self.module}.{self.qualname}" if self.module else self.qualname

    @property
    def name(self) -> str:
        """
        The name of the class for people: our own errors are stored by Celery's names.
        """
        if (self.module, self.qualname) in _OWN_TYPES:
            return _OWN_TYPES[self.module, self.qualname].__name__
        return self.qualname if self.module == "builtins" else self.type_name

    @property
    def summary(self) -> str:
        """
        The last line of a traceback: type and message.
        """
        return f"{self.name}: {self.message}" if self.message else self.name

    @property
    def nearest_builtin(self) -> type[Exception]:
        """
        The builtin exception type that is, or is nearest to, the failure's own.
        """
        for name in (self.type_name, *self.bases):
            module, _, qualname = name.rpartition(".")
            if module == "builtins" and qualname in BUILTIN_TYPES:
                return BUILTIN_TYPES[qualname]
        return Exception

    # -- to and from plain data -----------------------------------------------------------

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """
        Return *error* as data.
        """
        return _Describer().describe(error, 0)

    @classmethod
    def revoked(cls, reason: str) -> Failure:
        """
        Return the failure of a revoked task, named as Celery names it.
        """
        return cls("celery.exceptions", "TaskRevokedError", message=reason, args=(reason,))

    @classmethod
    def worker_lost(cls, message: str) -> Failure:
        """
        Return the failure of a task whose worker was lost, named as Celery names it.
        """
        return cls("billiard.exceptions", "WorkerLostError", message=message, args=(message,))

    def to_document(self, keep: Callable[[Any], Any]) -> dict[str, Any]:
        """
        Return the failure as plain data; *keep* returns a value that the serializer can hold.
        """
        document: dict[str, Any] = {
            "module": self.module,
            "type": self.qualname,
            "bases": list(self.bases),
            "message": self.message,
            "args": [keep(arg) for arg in self.args],
        }
        if self.attributes:
            document["attributes"] = {k: keep(v) for k, v in self.attributes.items()}
        if self.notes:
            document["notes"] = list(self.notes)
        for name in ("cause", "context"):
            nested = getattr(self, name)
            if nested is not None:
                document[name] = nested.to_document(keep)
        if self.exceptions:
            document["exceptions"] = [nested.to_document(keep) for nested in self.exceptions]
        return document

    def shortened(self, limit: int, note: str, depth: int = 3) -> Failure:
        """
        Return what is left of the failure where texts may have *limit* characters, with *note*.
        """
        message = shortened(self.message, limit)
        cause = None
        if self.cause is not None and depth:
            cause = self.cause.shortened(limit // 2, note, depth - 1)
        return Failure(
            shortened(self.module, limit),
            shortened(self.qualname, limit),
            message=message,
            # Arguments that are short make the same exception.
            args=self.args if len(safe_repr(self.args, 3 * limit)) <= limit else (message,),
            bases=[shortened(base, limit) for base in self.bases[:MAX_DEPTH]],
            notes=[note, *(shortened(text, limit) for text in self.notes[:depth])],
            cause=cause,
            exceptions=[
                member.shortened(limit // 4, note, 0) for member in self.exceptions[: 2 * depth]
            ],
        )

    def to_celery(self, keep: Callable[[Any], Any]) -> dict[str, Any]:
        """
        Return the failure as the `result` that Celery stores.
        """
        return {
            "exc_type": self.qualname,
            "exc_message": [keep(arg) for arg in self.args],
            "exc_module": self.module,
        }

    @classmethod
    def from_document(
        cls, document: object, depth: int = 0, left: Iterator[int] | None = None
    ) -> Failure:
        """
        Read what `to_document` wrote, or whatever is there instead. Never raises.

        Of more than `MAX_NODES` exceptions the rest is left out; *left* counts them down.
        """
        left = iter(range(MAX_NODES)) if left is None else left
        if not isinstance(document, dict) or depth > MAX_DEPTH:
            return cls._untyped(document)
        attributes = document.get("attributes")
        named = attributes.items() if isinstance(attributes, dict) else ()

        def nested(name: str) -> Failure | None:
            value = document.get(name)
            if value is None or next(left, None) is None:
                return None
            return cls.from_document(value, depth + 1, left)

        return cls(
            _text(document.get("module")),
            _text(document.get("type")) or "TaskError",
            message=_text(document.get("message")),
            args=items_of(document.get("args")),
            bases=map(_text, items_of(document.get("bases"))),
            attributes={name: value for name, value in named if isinstance(name, str)},
            notes=map(_text, items_of(document.get("notes"))),
            cause=nested("cause"),
            context=nested("context"),
            exceptions=[
                cls.from_document(item, depth + 1, left)
                for item, _ in zip(items_of(document.get("exceptions")), left, strict=False)
            ],
        )

    @classmethod
    def from_celery(cls, result: object) -> Failure:
        """
        Read the `result` of a failed task as Celery stores it. Never raises.

        Celery's own reader raises on a result that is not such a dict; this one keeps its text.
        """
        if isinstance(result, BaseException):
            failure = cls.of(result)
            named = (failure.module, failure.qualname)
            return cls._from_wrapper(failure.args) if named == _WRAPPER else failure
        result = _pairs(result)
        if not isinstance(result, dict) or "exc_type" not in result:
            return cls._untyped(result)
        message = result.get("exc_message", "")  # as Celery: its exception has one argument then
        args = tuple(message) if isinstance(message, (list, tuple)) else (message,)
        module = result.get("exc_module")
        name = _text(result["exc_type"]) or "TaskError"
        named = (_text(module) if module else "", name)
        if named == _WRAPPER:
            return cls._from_wrapper(args)
        # `str()` of a group of exceptions is not made of its arguments.
        grouped = named == ("builtins", "ExceptionGroup")
        return cls(*named, message=_message(args[:1] if grouped else args), args=args)

    @classmethod
    def _untyped(cls, found: object) -> Failure:
        """
        Return the failure of which only *found* is known: a plain `TaskError`.
        """
        text = _text(found)
        return cls("coatcheck.errors", "TaskError", message=text, args=(text,) if text else ())

    @classmethod
    def _from_wrapper(cls, args: tuple[Any, ...]) -> Failure:
        # Module, class name, args, text.
        module, name, inner, text = (*args, None, None, None, None)[:4]
        return cls(_text(module), _text(name), message=_text(text), args=items_of(inner))

    # -- to an exception ------------------------------------------------------------------

    def exception(self, trusted: Trusted, *, wrap: bool = False) -> Exception:
        """
        Return the exception that stands for this failure.

        The same builtin type; the application's class if *trusted* has it; else a `TaskError`
        that also derives from the nearest builtin type. With *wrap* always a plain `TaskError`.
        """
        error = self._make(trusted, wrap=wrap)
        if self.traceback:
            STATE["__cause__"].__set__(error, RemoteTraceback(self.traceback))
        notes = [*self.notes, *([self.note] if self.note else [])]
        if notes:
            dict_of(error)["__notes__"] = notes
        return error

    def _make(self, trusted: Trusted, *, wrap: bool) -> Exception:
        # Without a module only the name of our own, for what has none.
        module = self.module or ("coatcheck.errors" if self.qualname == "TaskError" else "")
        own = _OWN_TYPES.get((module, self.qualname))
        if wrap or own is not None:
            return (own or TaskError)(self)
        cls = trusted.find(self.module, self.qualname)
        if cls is None and self.module == "builtins":
            cls = BUILTIN_TYPES.get(self.qualname)
        error = None if cls is None else self._allocate(cls, trusted)
        if error is not None and not issubclass(type(error), _MISTAKABLE):
            return error
        # Not `cls`: OSError's constructor may have chosen a subclass by its first argument.
        base = self.nearest_builtin if error is None else type(error)
        made = _task_error_class(self.module, self.qualname, _derivable(base))
        error = self._allocate(made, trusted)
        assert error is not None  # noqa: S101 - nothing of it is in C but its builtin base
        dict_of(error)["failure"] = self
        return error

    def _allocate(self, cls: type[Exception], trusted: Trusted) -> Exception | None:
        """
        Make a *cls* without running any constructor that is not a builtin type's.

        `None` if that cannot be: a type in C that only its own constructor can make.
        """
        layout: Any = _layout_of(cls)
        slots: dict[str, Any] = {}
        try:
            if issubclass(cls, ExceptionGroup):
                error: Exception = layout.__new__(cls, self.message, self._members(trusted))
            elif cls is layout:
                error = self._construct(layout)
            else:
                error = layout.__new__(cls)
                # What a builtin type makes of the same arguments, such as OSError its `errno`.
                with suppress(Exception):
                    slots = _slots_of(self._construct(layout))
        except Exception as failed:  # noqa: BLE001 - arguments of the wrong shape, or a type in C
            pass_on_interruption(failed)
            return None
        if cls is not layout:
            STATE["args"].__set__(error, self.args)
        for name, value in (slots | self.attributes).items():
            if (
                not name.startswith("__")
                and name not in _METHODS
                and not _set_slot(error, name, value)
            ):
                dict_of(error)[name] = value
        _straighten(error)
        return error

    def _members(self, trusted: Trusted) -> list[Exception]:
        members = [member.exception(trusted) for member in self.exceptions]
        return members or [Exception("members unknown")]

    def _construct(self, cls: type[Exception]) -> Exception:
        # CPython reads outside of the object if a UnicodeError has a negative position.
        if issubclass(cls, UnicodeError) and any(type(a) is int and a < 0 for a in self.args):
            raise ValueError("a negative position")
        return cls(*self.args)


class Trusted:
    """
    The exception classes that a reader lets stored bytes name: classes, `"pkg.mod.Class"`, or
    `"pkg."` for all of a package.
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
        """
        Return the class if it is trusted and its module is already imported, else `None`.
        """
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
        # An imported name is not the module's own: "myapp." must not reach subprocess's errors.
        names = (CLASS["__module__"].__get__(found), CLASS["__qualname__"].__get__(found))
        return cast("type[Exception]", found) if names == (module, qualname) else None


class _Describer:
    """
    Walks an exception with its causes, contexts and members, each once.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def describe(self, error: BaseException, depth: int) -> Failure:
        self._seen.add(id(error))
        cls = type(error)
        group = issubclass(cls, BaseExceptionGroup)
        message = GROUP["message"].__get__(error) if group else _safe(str, error)
        members = GROUP["exceptions"].__get__(error) if group else ()
        hidden = STATE["__suppress_context__"].__get__(error)
        context = None if hidden else context_of(error)
        return Failure(
            _module(cls),
            shortened(name_of(cls)),
            message=shortened(message),
            args=STATE["args"].__get__(error),
            bases=[shortened(f"{_module(c)}.{name_of(c)}") for c in mro_of(cls)[1:-1]],
            attributes=_attributes(error),
            notes=[shortened(_text(n)) for n in items_of(dict.get(dict_of(error), "__notes__"))],
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
    """
    Return the traceback of *error* as Python prints it, bounded in length.
    """
    import traceback  # noqa: PLC0415 - only failures need it

    try:
        return shortened("".join(traceback.format_exception(error)))
    except BaseException as failed:
        # Python cannot print every SyntaxError, and asks all that it prints for its attributes.
        if not is_of_its_own(failed):
            raise
        lines = traceback.format_tb(traceback_of(error))
        last = f"{name_of(type(error))}: {_safe(str, error)}\n"
        return shortened("".join(["Traceback (most recent call last):\n", *lines, last]))


class _RemoteError(TaskError):
    """
    The base of the classes that are made here.
    """

    def __init_subclass__(cls) -> None:
        # In place of that of a trusted base, which is code of the application.
        pass

    def __reduce__(self) -> tuple[Any, ...]:
        # The class cannot be found by its name: another process makes it again.
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
    return failure.exception(Trusted())


def _layout_of(cls: type[BaseException]) -> type[BaseException]:
    """
    Return the builtin type whose `__new__` can make a *cls*.
    """
    while _LAYOUTS.get(CLASS["__name__"].__get__(cls)) is not cls:
        cls = CLASS["__base__"].__get__(cls)
    return cls


def _derivable(cls: type[Exception]) -> Any:
    """
    Return what a class may derive from so that *cls* is caught, as far as that can be.
    """
    if issubclass(cls, _LOOP_ENDS):
        return Exception
    # To derive from a class with a metaclass is to call that.
    return cls if type(cls) is type else _layout_of(cls)


def _slots_of(error: BaseException) -> dict[str, Any]:
    return {
        name: value
        for base, names in _SLOTS.items()
        if issubclass(type(error), base)
        for name in names
        if (value := vars(base)[name].__get__(error)) is not None
    }


def _straighten(error: Exception) -> None:
    """
    Take from *error* what Python could not print: a line of source that is no text, for one.
    """
    for name, value in _slots_of(error).items():
        fits = (name not in _TEXTS or isinstance(value, str)) and (
            name not in _PLACES or (isinstance(value, int) and abs(value) <= _FARTHEST)
        )
        if not fits and not issubclass(type(error), OSError):
            _set_slot(error, name, None)


def _set_slot(error: Exception, name: str, value: object) -> bool:
    """
    Set what the `__dict__` of *error* does not hold; `False` if it has no such slot.
    """
    for base, names in _SLOTS.items():
        if name in names and issubclass(type(error), base):
            with suppress(TypeError, ValueError):  # of the wrong type: the data keeps it
                vars(base)[name].__set__(error, value)
            return True
    return False


def _attributes(error: BaseException) -> dict[str, Any]:
    own = {
        shortened(name): value
        for name, value in dict.items(dict_of(error))
        if is_a(name, str) and not str.startswith(name, "__")
    }
    if is_a(error, TaskError):
        own.pop("failure", None)
    return _slots_of(error) | own


def _namespace(found: object) -> Mapping[str, Any]:
    if issubclass(type(found), type):
        return CLASS["__dict__"].__get__(found)  # type: ignore[no-any-return]
    if issubclass(type(found), ModuleType):
        return _MODULE["__dict__"].__get__(found) or {}
    return {}


def _safe(render: Callable[[Any], str], value: object) -> str:
    try:
        return render(value)
    except BaseException as failed:
        # Whatever it raises, a broken __str__ must not hide the failure.
        if not is_of_its_own(failed):
            raise
        return f"<{name_of(type(value))}: {render.__name__}() failed>"


def safe_repr(value: object, limit: int = 2_000) -> str:
    """
    Return the bounded `repr` of *value*, whatever its `__repr__` does.
    """
    return shortened(_safe(repr, value), limit)


def safe_str(value: object, limit: int = 2_000) -> str:
    """
    Return the bounded `str` of *value*, whatever its `__str__` does.
    """
    return shortened(_safe(str, value), limit)


def _text(value: object) -> str:
    if is_a(value, str):
        return str.__str__(value)
    return "" if value is None else safe_repr(value)


def _module(cls: type) -> str:
    return shortened(_text(module_of(cls)))


def _pairs(value: object) -> object:
    """
    Return the dict that a list of pairs makes, as Celery's reader does, or *value* as it is.
    """
    if not isinstance(value, (list, tuple)):
        return value
    with suppress(TypeError, ValueError):
        return dict(value)
    return value


def _message(args: tuple[Any, ...]) -> str:
    if not args:
        return ""
    return _text(args[0]) if len(args) == 1 else safe_repr(args)


def shortened(text: str, limit: int = MAX_TEXT) -> str:
    """
    Return *text* as every serializer can hold it: no subclass, no lone surrogates, not too long.
    """
    text = str.encode(text, "utf-8", "backslashreplace").decode()
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - limit} characters left out ...\n{text[-half:]}"
