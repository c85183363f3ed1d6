"""
Every error that coatcheck raises.

::

    CoatcheckError
    ├─ ArgumentError (ValueError)                 a task id, state or duration that cannot be
    ├─ ConfigurationError (ValueError)            URL, option, file
    │  ├─ UnknownSchemeError (LookupError)        not installed
    │  ├─ SchemeConflictError                     two distributions, one scheme
    │  └─ PluginError (ImportError)               driver missing, import failed, protocol version
    ├─ BackendError                               an error of the store, its cause kept
    │  ├─ BackendUnavailableError (ConnectionError)
    │  │  ├─ PartlyUnavailableError            of many records some could be read
    │  │  └─ ThreadStartError (RuntimeError)   this process may start no more threads
    │  ├─ BackendStoreError  BackendGetMetaError  after the retry budget
    │  └─ ResultTooLargeError (ValueError)
    ├─ UnsupportedError (NotImplementedError)     a capability that was not declared
    ├─ SerializationError
    │  ├─ EncodeError (TypeError)
    │  ├─ DecodeError (ValueError)
    │  ├─ ContentDisallowed (ValueError)
    │  ├─ ResultTypeError (TypeError)             a value that does not fit the type asked for
    │  └─ SignatureError (ValueError)
    ├─ WaitTimeoutError (TimeoutError)            which ids, how long, the store's last error
    ├─ UnknownTaskError (LookupError)
    ├─ OnceConflictError (ValueError)             one key of `once` for two requests
    └─ TaskError                                  the task failed: carries the failure
       ├─ TaskRevokedError
       └─ WorkerLostError
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ._record.failures import Failure


def _restore(
    cls: type[CoatcheckError], args: tuple[Any, ...], state: dict[str, Any]
) -> CoatcheckError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class CoatcheckError(Exception):
    """The base of all errors of coatcheck."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors write their own message from data, so the default (call the class with
        # `args`) would not survive the way through a process pool.
        return _restore, (type(self), self.args, self.__dict__.copy())


class ArgumentError(CoatcheckError, ValueError):
    """A task id, state or duration that cannot be."""

    def __init__(self, what: str, value: object, way_out: str) -> None:
        self.what = what
        # Shortened, and safe from the value's own `__repr__`.
        super().__init__(f"{what} cannot be {reprlib.repr(value)}: {way_out}")


class ConfigurationError(CoatcheckError, ValueError):
    """A URL, an option or a file that cannot be used."""


class UnknownSchemeError(ConfigurationError, LookupError):
    """No installed plugin handles the URL's scheme."""

    def __init__(
        self,
        scheme: str,
        *,
        installed: Iterable[str],
        near: str | None,
        install: str | None,
        instead: str | None = None,
    ) -> None:
        self.scheme = scheme
        self.installed: list[str] = sorted(installed)
        message = f"no backend for the scheme {scheme!r} is installed"
        if instead:
            message += f"; write {instead}://... instead"
        if near:
            message += f"; did you mean {near!r}?"
        if install:
            message += f"; install it with: pip install {install!r}"
        super().__init__(f"{message} (installed: {', '.join(self.installed)})")


class SchemeConflictError(ConfigurationError):
    """Two distributions claim one scheme."""

    def __init__(self, scheme: str, claims: Iterable[str]) -> None:
        self.scheme = scheme
        self.claims: list[str] = sorted(claims)
        super().__init__(
            f"the scheme {scheme!r} is claimed by {' and by '.join(self.claims)}: uninstall "
            f"all but one, or choose with coatcheck.register({scheme!r}, 'module:Class', "
            "replace=True)"
        )


class PluginError(ConfigurationError, ImportError):
    """A plugin is installed but cannot be used."""


class BackendError(CoatcheckError):
    """The store answered with an error, or did not answer."""


class BackendUnavailableError(BackendError, ConnectionError):
    """The store cannot be reached, or refuses to serve."""


class PartlyUnavailableError(BackendUnavailableError):
    """
    A part of the store is away. After a read of many, `found` has the records that could be read, by key or
    task id, and `unread` the keys that could not.
    """

    def __init__(self, message: str, *, found: Mapping[str, object], unread: Iterable[str]) -> None:
        self.found: dict[str, Any] = dict(found)
        self.unread: frozenset[str] = frozenset(unread)
        super().__init__(message)


class ThreadStartError(BackendUnavailableError, RuntimeError):
    """A thread that the call needs cannot be started. The next call tries again."""

    def __init__(self, thread: str, reason: object) -> None:
        self.thread = thread
        super().__init__(
            f"the thread {thread!r} cannot be started ({reason}): allow this process more threads "
            "(`ulimit -u`, or the limit of pids of its container), or start fewer"
        )


class BackendStoreError(BackendError):
    """The store refused a write."""


class BackendGetMetaError(BackendError):
    """The store refused a read."""


class ResultTooLargeError(BackendError, ValueError):
    """The encoded record is over the store's limit. Sizes are in bytes."""

    def __init__(self, task_id: str, *, size: int, limit: int) -> None:
        self.task_id = task_id
        self.size = size
        self.limit = limit
        super().__init__(
            f"the record of task {task_id!r} has {size} bytes, the store's limit is {limit}: "
            "store a reference to the value instead"
        )


class UnsupportedError(CoatcheckError, NotImplementedError):
    """The backend does not have the capability that the call needs."""


class SerializationError(CoatcheckError):
    """A value could not be turned into bytes, or back."""


class EncodeError(SerializationError, TypeError):
    """The serializer cannot keep a value. `path` says where in the record it is."""

    def __init__(self, serializer: str, path: str, reason: str) -> None:
        self.serializer = serializer
        self.path = path
        super().__init__(f"the serializer {serializer!r} cannot keep {path}: {reason}")


class DecodeError(SerializationError, ValueError):
    """A stored record, or its value, cannot be read."""

    def __init__(self, task_id: str | None, reason: str) -> None:
        self.task_id = task_id
        super().__init__(f"the record of task {task_id!r} cannot be read: {reason}")


class ContentDisallowed(SerializationError, ValueError):  # noqa: N818 - the field's name
    """The record's serializer is not among those the reader accepts."""

    def __init__(self, task_id: str | None, serializer: str, accept: Iterable[str]) -> None:
        self.task_id = task_id
        self.serializer = serializer
        self.accept: tuple[str, ...] = tuple(accept)
        super().__init__(
            f"the record of task {task_id!r} is {serializer}, and this reader accepts "
            f"{', '.join(self.accept) or 'nothing'}: if its writers are trusted, add "
            f"{serializer!r} to the option accept="
        )


class ResultTypeError(SerializationError, TypeError):
    """A value does not fit the type that its reader asked for. `path` says where in it."""

    def __init__(self, task_id: str, path: str, reason: str) -> None:
        self.task_id = task_id
        self.path = path
        super().__init__(f"the value of task {task_id!r} does not fit: {path}: {reason}")


class SignatureError(SerializationError, ValueError):
    """
    A record's signature does not verify: it is unsigned, forged, moved, or signed by another key.
    """

    def __init__(self, task_id: str | None, reason: str) -> None:
        self.task_id = task_id
        super().__init__(f"the record of task {task_id!r} is not to be trusted: {reason}")


class WaitTimeoutError(CoatcheckError, TimeoutError):
    """
    A wait reached its deadline. `last_error` is the store's last error, or that of a record whose
    state cannot be read, or `None`.
    """

    SHOWN = 5

    def __init__(
        self,
        task_ids: Collection[str],
        timeout: float | None,
        last_error: BaseException | None = None,
        *,
        hint: str = "",
    ) -> None:
        self.task_ids: frozenset[str] = frozenset(task_ids)
        self.timeout = timeout
        self.last_error = last_error
        shown = ", ".join(repr(id_) for id_ in sorted(self.task_ids)[: self.SHOWN])
        more = len(self.task_ids) - self.SHOWN
        message = f"not ready after {timeout} s: {shown}" + (
            f" and {more} more" if more > 0 else ""
        )
        if last_error is not None:
            whose = "" if isinstance(last_error, SerializationError) else "the store's last error: "
            message += f" ({whose}{last_error})"
        super().__init__(f"{message}; {hint}" if hint else message)


class UnknownTaskError(CoatcheckError, LookupError):
    """Nothing is stored for the task id."""

    def __init__(self, task_id: str, *, hint: str = "") -> None:
        self.task_id = task_id
        message = (
            f"nothing is stored for task {task_id!r}: it was never sent to this backend, has "
            "expired or was forgotten"
        )
        super().__init__(f"{message}; {hint}" if hint else message)


class OnceConflictError(CoatcheckError, ValueError):
    """The key of `once` stands for another request: its fingerprint differs."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(
            f"the key {task_id!r} was used for another request, whose fingerprint differs: use a new "
            "key for each request"
        )


class TaskError(CoatcheckError):
    """The task failed. `failure` holds all that is known of it, as data."""

    failure: Failure

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(*([failure.summary] if type(self) is TaskError else failure.args))

    def __str__(self) -> str:
        # The made subclasses also derive from builtins whose own __str__ expects the
        # arguments of their own constructor. Their class name shows the type that `TaskError` must spell out.
        return self.failure.summary if type(self) is TaskError else self.failure.message


class TaskRevokedError(TaskError):
    """The task was revoked."""


class WorkerLostError(TaskError):
    """The worker stopped giving signs of life."""
