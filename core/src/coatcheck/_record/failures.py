"""
Failures: exceptions as plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from .._runtime.bare import items_of
from .builtin_types import BUILTIN_TYPES
from .describing import MAX_DEPTH, MAX_NODES, Describer
from .raising import OWN_TYPES, Trusted, exception_of
from .texts import safe_repr, shortened, text_of

#: Celery's worker wraps an exception that it cannot pickle in this class.
_WRAPPER: Final = ("celery.utils.serialization", "UnpickleableExceptionWrapper")


class Failure:
    """An exception as plain data."""

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
        args: Iterable[object] = (),
        bases: Iterable[str] = (),
        attributes: Mapping[str, object] | None = None,
        notes: Iterable[str] = (),
        cause: Failure | None = None,
        context: Failure | None = None,
        exceptions: Iterable[Failure] = (),
        traceback: str | None = None,
        note: str | None = None,
    ) -> None:
        self.module: str = module
        self.qualname: str = qualname
        self.message: str = message
        #: The exception's `args`. An argument that the serializer cannot hold is its `repr`.
        self.args: tuple[Any, ...] = tuple(args)
        #: The qualified names of the base classes, nearest first.
        self.bases: tuple[str, ...] = tuple(bases)
        self.attributes: dict[str, Any] = dict(attributes or {})
        self.notes: tuple[str, ...] = tuple(notes)
        #: The explicit cause (`raise ... from`), and the implicit context.
        self.cause: Failure | None = cause
        self.context: Failure | None = context
        #: The members of an exception group.
        self.exceptions: tuple[Failure, ...] = tuple(exceptions)
        self.traceback: str | None = traceback
        #: Names the task, the worker and the time. Readers get it as a note of the exception.
        self.note: str | None = note

    def __repr__(self) -> str:
        return f"<Failure {self.summary}>"

    @property
    def type_name(self) -> str:
        """The qualified name of the exception's class."""
        return f"{self.module}.{self.qualname}" if self.module else self.qualname

    @property
    def name(self) -> str:
        """The name of the class for people. Our own errors are stored under Celery's names."""
        if (self.module, self.qualname) in OWN_TYPES:
            return OWN_TYPES[self.module, self.qualname].__name__
        return self.qualname if self.module == "builtins" else self.type_name

    @property
    def summary(self) -> str:
        """The last line of a traceback: type and message."""
        return f"{self.name}: {self.message}" if self.message else self.name

    @property
    def nearest_builtin(self) -> type[Exception]:
        """The failure's own type if it is builtin, else the nearest builtin base."""
        for name in (self.type_name, *self.bases):
            module, _, qualname = name.rpartition(".")
            if module == "builtins" and qualname in BUILTIN_TYPES:
                return BUILTIN_TYPES[qualname]
        return Exception

    # -- to and from plain data -----------------------------------------------------------

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return *error* as data."""
        return Describer(cls).describe(error, 0)

    @classmethod
    def revoked(cls, reason: str) -> Failure:
        """Return the failure of a revoked task, named as Celery names it."""
        return cls("celery.exceptions", "TaskRevokedError", message=reason, args=(reason,))

    @classmethod
    def worker_lost(cls, message: str) -> Failure:
        """Return the failure of a task whose worker was lost, named as Celery names it."""
        return cls("billiard.exceptions", "WorkerLostError", message=message, args=(message,))

    def to_document(self, keep: Callable[[object], object]) -> dict[str, Any]:
        """
        Return the failure as plain data. *keep* turns a value into one that the serializer can hold.
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
        """Return a smaller failure, its texts cut to *limit* characters, with *note* added."""
        message = shortened(self.message, limit)
        cause = None
        if self.cause is not None and depth:
            cause = self.cause.shortened(limit // 2, note, depth - 1)
        return Failure(
            shortened(self.module, limit),
            shortened(self.qualname, limit),
            message=message,
            # Short arguments are kept, so that the same exception can be raised.
            args=self.args if len(safe_repr(self.args, 3 * limit)) <= limit else (message,),
            bases=[shortened(base, limit) for base in self.bases[:MAX_DEPTH]],
            notes=[note, *(shortened(text, limit) for text in self.notes[:depth])],
            cause=cause,
            exceptions=[
                member.shortened(limit // 4, note, 0) for member in self.exceptions[: 2 * depth]
            ],
        )

    def to_celery(self, keep: Callable[[object], object]) -> dict[str, Any]:
        """Return the failure as the `result` that Celery stores."""
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
        Read a document from `to_document`, or any other object in its place. Never raises.

        Keeps at most `MAX_NODES` exceptions; *left* counts them down.
        """
        left = iter(range(MAX_NODES)) if left is None else left
        if not isinstance(document, dict) or depth > MAX_DEPTH:
            return _untyped(document)
        attributes = document.get("attributes")
        named = attributes.items() if isinstance(attributes, dict) else ()

        def nested(name: str) -> Failure | None:
            value = document.get(name)
            if value is None or next(left, None) is None:
                return None
            return cls.from_document(value, depth + 1, left)

        return cls(
            text_of(document.get("module")),
            text_of(document.get("type")) or "TaskError",
            message=text_of(document.get("message")),
            args=items_of(document.get("args")),
            bases=map(text_of, items_of(document.get("bases"))),
            attributes={name: value for name, value in named if isinstance(name, str)},
            notes=map(text_of, items_of(document.get("notes"))),
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

        Celery's own reader raises if the result is not such a dict; this one keeps its text.
        """
        if isinstance(result, BaseException):
            failure = cls.of(result)
            named = (failure.module, failure.qualname)
            return _from_wrapper(failure.args) if named == _WRAPPER else failure
        result = _pairs(result)
        if not isinstance(result, dict) or "exc_type" not in result:
            return _untyped(result)
        message = result.get("exc_message", "")  # as in Celery: the exception has one argument
        args = tuple(message) if isinstance(message, (list, tuple)) else (message,)
        module = result.get("exc_module")
        name = text_of(result["exc_type"]) or "TaskError"
        named = (text_of(module) if module else "", name)
        if named == _WRAPPER:
            return _from_wrapper(args)
        # `str()` of an exception group does not show its arguments.
        grouped = named == ("builtins", "ExceptionGroup")
        return cls(*named, message=_message(args[:1] if grouped else args), args=args)

    # -- to an exception ------------------------------------------------------------------

    def exception(self, trusted: Trusted, *, wrap: bool = False) -> Exception:
        """
        Return the exception to raise for this failure.

        This is the same builtin type, or the application's class if *trusted* has it, or else a `TaskError`
        that also derives from the nearest builtin type. With *wrap* it is always a plain `TaskError`.
        """
        return exception_of(self, trusted, wrap=wrap)


def _untyped(found: object) -> Failure:
    """Return a failure whose type is not known, a plain `TaskError` with the text of *found*."""
    text = text_of(found)
    return Failure("coatcheck.errors", "TaskError", message=text, args=(text,) if text else ())


def _from_wrapper(args: tuple[object, ...]) -> Failure:
    # Module, class name, args, text.
    module, name, inner, text = (*args, None, None, None, None)[:4]
    return Failure(text_of(module), text_of(name), message=text_of(text), args=items_of(inner))


def _pairs(value: object) -> object:
    """Return a list of pairs as a dict, as Celery's reader does, and any other value unchanged."""
    if not isinstance(value, (list, tuple)):
        return value
    with suppress(TypeError, ValueError):
        return dict(value)
    return value


def _message(args: tuple[object, ...]) -> str:
    if not args:
        return ""
    return text_of(args[0]) if len(args) == 1 else safe_repr(args)
