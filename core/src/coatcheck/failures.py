"""
Failures as data: what an exception was, and what a reader raises for it.

Nothing here imports or calls what a stored record names. An exception is made again only of a
builtin type, of a class that the reader lists as trusted, or of a subclass of `TaskError`.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from .errors import TaskError, TaskRevokedError, WorkerLostError

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
#: Attributes of builtin exceptions that their `__dict__` does not hold.
_SLOTS: Final[Mapping[type[Exception], tuple[str, ...]]] = {
    OSError: ("errno", "strerror", "filename", "filename2"),
    ImportError: ("name", "path"),
    NameError: ("name",),
    AttributeError: ("name",),
    StopIteration: ("value",),
    SyntaxError: ("msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset"),
}
#: Raised only as a `TaskError`, so that they cannot be taken for our own or for the loop's.
_MISTAKABLE: Final = (StopIteration, StopAsyncIteration, TimeoutError, ConnectionError)

#: Our own errors, by the names that we and Celery store them under.
_OWN_TYPES: Final[Mapping[tuple[str, str], type[TaskError]]] = {
    ("celery.exceptions", "TaskRevokedError"): TaskRevokedError,
    ("coatcheck.errors", "TaskRevokedError"): TaskRevokedError,
    ("coatcheck.errors", "WorkerLostError"): WorkerLostError,
    ("billiard.exceptions", "WorkerLostError"): WorkerLostError,
}


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
        return f"{self.module}.{self.qualname}"

    @property
    def summary(self) -> str:
        """
        The last line of a traceback: type and message.
        """
        name = self.qualname if self.module == "builtins" else self.type_name
        return f"{name}: {self.message}" if self.message else name

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
    def from_document(cls, document: object, depth: int = 0) -> Failure:
        """
        Read what `to_document` wrote, or whatever is there instead. Never raises.
        """
        if not isinstance(document, dict) or depth > MAX_DEPTH:
            return cls("builtins", "Exception", message=_text(document))
        attributes = document.get("attributes")

        def nested(name: str) -> Failure | None:
            value = document.get(name)
            return None if value is None else cls.from_document(value, depth + 1)

        return cls(
            _text(document.get("module")),
            _text(document.get("type")),
            message=_text(document.get("message")),
            args=_items(document.get("args")),
            bases=map(_text, _items(document.get("bases"))),
            attributes=attributes if isinstance(attributes, dict) else None,
            notes=map(_text, _items(document.get("notes"))),
            cause=nested("cause"),
            context=nested("context"),
            exceptions=[
                cls.from_document(item, depth + 1) for item in _items(document.get("exceptions"))
            ],
        )

    @classmethod
    def from_celery(cls, result: object) -> Failure:
        """
        Read the `result` of a failed task as Celery stores it. Never raises.

        Celery's own reader raises on a result that is not such a dict; this one keeps its text.
        """
        if isinstance(result, BaseException):
            return cls.of(result)
        if not isinstance(result, dict) or "exc_type" not in result:
            return cls("builtins", "Exception", message="" if result is None else _text(result))
        message = result.get("exc_message", ())
        args = tuple(message) if isinstance(message, (list, tuple)) else (message,)
        module = result.get("exc_module")
        name = _text(result["exc_type"])
        if module == "celery.utils.serialization" and name == "UnpickleableExceptionWrapper":
            return cls._from_wrapper(args)
        return cls(_text(module) if module else "", name, message=_message(args), args=args)

    @classmethod
    def _from_wrapper(cls, args: tuple[Any, ...]) -> Failure:
        # Celery's worker wraps what it cannot pickle: module, class name, args, text.
        module, name, inner, text = (*args, None, None, None, None)[:4]
        return cls(_text(module), _text(name), message=_text(text), args=_items(inner))

    # -- to an exception ------------------------------------------------------------------

    def exception(self, trusted: Trusted, *, wrap: bool = False) -> Exception:
        """
        Return the exception that stands for this failure.

        The same builtin type; the application's class if *trusted* has it; else a `TaskError`
        that also derives from the nearest builtin type. With *wrap* always a plain `TaskError`.
        """
        error = self._make(trusted, wrap=wrap)
        if self.traceback:
            error.__cause__ = RemoteTraceback(self.traceback)
        for note in (*self.notes, *([self.note] if self.note else [])):
            error.add_note(note)
        return error

    def _make(self, trusted: Trusted, *, wrap: bool) -> Exception:
        own = _OWN_TYPES.get((self.module, self.qualname))
        if wrap or own is not None:
            return (own or TaskError)(self)
        cls = trusted.find(self.module, self.qualname)
        if cls is None and self.module == "builtins":
            cls = BUILTIN_TYPES.get(self.qualname)
        if cls is not None and not issubclass(cls, _MISTAKABLE):
            error = self._allocate(cls, trusted)
            # OSError's constructor may choose a subclass by its first argument.
            if not isinstance(error, _MISTAKABLE):
                return error
            cls = type(error)
        base = cls or self.nearest_builtin
        error = self._allocate(_task_error_class(self.module, self.qualname, base), trusted)
        assert isinstance(error, TaskError)  # noqa: S101 - it was made as one
        error.failure = self
        return error

    def _allocate(self, cls: type[Exception], trusted: Trusted) -> Exception:
        """
        Make a *cls* without running any constructor that is not a builtin type's.
        """
        native = next(c for c in cls.__mro__ if c.__module__ == "builtins" and c is not object)
        if issubclass(cls, ExceptionGroup):
            members = [member.exception(trusted) for member in self.exceptions]
            error: Exception = ExceptionGroup.__new__(
                cls, self.message, members or [Exception("members unknown")]
            )
        elif cls is native:
            error = self._construct(cls)
        else:
            # The nearest type in C decides the object's layout; its `__new__` is safe to call.
            error = _layout_base(cls).__new__(cls)
            error.args = self.args
        for name in _slots_of(cls):
            if name in self.attributes:
                _set_slot(error, name, self.attributes[name])
        if cls is not native:
            error.__dict__.update(
                {k: v for k, v in self.attributes.items() if not k.startswith("__")}
            )
        return error

    def _construct(self, cls: type[Exception]) -> Exception:
        try:
            return cls(*self.args)
        except Exception:  # noqa: BLE001 - arguments of the wrong shape: keep type and args
            error = cls.__new__(cls)
            error.args = self.args
            return error


class Trusted:
    """
    The exception classes that a reader lets stored bytes name: classes, `"pkg.mod.Class"`, or
    `"pkg."` for all of a package.
    """

    def __init__(self, entries: Iterable[str | type[Exception]] = ()) -> None:
        given = [entries] if isinstance(entries, (str, type)) else list(entries)
        self._classes = {
            (entry.__module__, entry.__qualname__): entry
            for entry in given
            if isinstance(entry, type)
        }
        self._names = tuple(entry for entry in given if isinstance(entry, str))

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
        if not isinstance(found, type) or Exception not in found.__mro__:
            return None
        # An imported name is not the module's own: "myapp." must not reach subprocess's errors.
        own = (found.__module__, found.__qualname__) == (module, qualname)
        return found if own else None


class _Describer:
    """
    Walks an exception with its causes, contexts and members, each once.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def describe(self, error: BaseException, depth: int) -> Failure:
        self._seen.add(id(error))
        cls = type(error)
        members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        message = error.message if isinstance(error, BaseExceptionGroup) else _safe(str, error)
        return Failure(
            cls.__module__,
            cls.__qualname__,
            message=_bounded(message),
            args=error.args,
            bases=[f"{c.__module__}.{c.__qualname__}" for c in cls.__mro__[1:-1]],
            attributes=_attributes(error),
            notes=[_text(note) for note in _items(getattr(error, "__notes__", ()))],
            cause=self._nested(error.__cause__, depth),
            context=self._nested(None if error.__suppress_context__ else error.__context__, depth),
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

    return _bounded("".join(traceback.format_exception(error)))


@lru_cache(maxsize=256)
def _task_error_class(module: str, qualname: str, base: Any) -> type[Exception]:
    name = qualname.rpartition(".")[2]
    if not name.isidentifier():  # stored bytes may say anything
        name = "TaskError"
    bases = (TaskError,) if issubclass(TaskError, base) else (TaskError, base)
    return type(
        name,
        bases,
        {
            "__module__": module or "coatcheck.errors",
            "__qualname__": qualname or name,
            "__doc__": "A remote exception, under its own name.",
            # The class cannot be found by its name: another process makes it again.
            "__reduce__": lambda self: (_remake, (self.failure,)),
        },
    )


def _remake(failure: Failure) -> Exception:
    return failure.exception(Trusted())


def _layout_base(cls: type[Exception]) -> Any:
    """
    Return the most derived builtin type among the bases of *cls*.
    """
    natives = [c for c in cls.__mro__ if c.__module__ == "builtins" and issubclass(c, Exception)]
    return max(natives, key=lambda c: len(c.__mro__))


def _slots_of(cls: type[BaseException]) -> tuple[str, ...]:
    return tuple(n for base, names in _SLOTS.items() if issubclass(cls, base) for n in names)


def _set_slot(error: Exception, name: str, value: object) -> None:
    native = next(
        base for base, names in _SLOTS.items() if isinstance(error, base) and name in names
    )
    try:
        vars(native)[name].__set__(error, value)
    except (TypeError, ValueError, AttributeError):
        return  # a stored value of the wrong type: the data keeps it


def _attributes(error: BaseException) -> dict[str, Any]:
    found = {
        name: value
        for name in _slots_of(type(error))
        if (value := getattr(error, name, None)) is not None
    }
    own = {k: v for k, v in error.__dict__.items() if isinstance(k, str) and not k.startswith("__")}
    own.pop("failure", None) if isinstance(error, TaskError) else None
    return found | own


def _namespace(found: object) -> Mapping[str, Any]:
    if isinstance(found, type):
        return type.__dict__["__dict__"].__get__(found)  # type: ignore[no-any-return]
    namespace = getattr(found, "__dict__", {}) if isinstance(found, type(sys)) else {}
    return namespace if isinstance(namespace, dict) else {}


def _safe(render: Callable[[Any], str], value: object) -> str:
    try:
        return render(value)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the failure
        return f"<{type(value).__qualname__}: {render.__name__}() failed>"


def safe_repr(value: object) -> str:
    """
    Return the bounded `repr` of *value*, whatever its `__repr__` does.
    """
    return _bounded(_safe(repr, value), 2_000)


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else safe_repr(value)


def _items(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _message(args: tuple[Any, ...]) -> str:
    if not args:
        return ""
    return _text(args[0]) if len(args) == 1 else safe_repr(args)


def _bounded(text: str, limit: int = MAX_TEXT) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - limit} characters left out ...\n{text[-half:]}"
