"""
The immutable snapshot of a task's record that readers get.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from .. import states
from .._runtime.completion import shown
from .._runtime.interruptions import pass_on_interruption
from ..errors import DecodeError
from .fields import RecordFields
from .plain import document, token_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .failures import Failure


_UNREAD: Final = object()

#: Turns the tags of a serializer into values of their types. May raise any exception.
Revive = Callable[[object], object]


#: The content of a record: its document; a function that reads the tags of the serializer, or `None`
#: without tags; and the reason why the value cannot be read, or `None`.
Content = tuple["Mapping[str, Any]", Revive | None, Exception | None]


def status_of(document: Mapping[str, object]) -> str:
    """Return the state in *document*; PENDING if that is not text."""
    status = document.get("status")
    if type(status) is str:
        return status
    # A store's own kind of text may lack methods of `str`.
    return str.__str__(status) if isinstance(status, str) else states.PENDING


class Reader(Protocol):
    """The reader behind a snapshot: decodes a record later, and knows the policy on failures."""

    def content(self, task_id: str, version: Any) -> Content:
        """Return the content of the record *version*. Never raises because of the bytes."""

    def failure(self, document: Mapping[str, object], revive: Revive | None) -> Failure:
        """Return the failure in the document of a failed task. Never raises."""

    def exception(self, failure: Failure, *, wrap: bool) -> Exception:
        """Return the exception to raise for *failure* under the reader's policy."""


class ResultMeta(RecordFields):
    """
    One immutable snapshot of a task's record.

    Reading an attribute does no I/O. `status` and the dates can be read even if the value cannot; `result`
    raises the exception in `error` if the value is damaged, refused or newer.
    """

    __slots__ = (
        "_decoded",
        "_reader",
        "_status",
        "_value",
        "known",
        "task_id",
        "version",
    )

    #: `False` if nothing is stored for the task: then `status` is `PENDING`.
    known: bool
    task_id: str
    #: The backend's token for exactly this record, for `if_match`.
    version: Any

    def __init__(
        self,
        task_id: str,
        document: Mapping[str, Any] | None,
        reader: Reader,
        *,
        status: str = states.PENDING,
        revive: Revive | None = None,
        fault: Exception | None = None,
        version: Any = None,
        known: bool = True,
    ) -> None:
        self.task_id = task_id
        # Without a document, decode it on first use: many snapshots are only asked for their state.
        self._decoded = None if document is None else (document, revive, fault)
        self._status = status if document is None else status_of(document)
        self._reader = reader
        self._value: Any = _UNREAD
        self.version = version
        self.known = known

    def __dir__(self) -> list[str]:
        return shown(super().__dir__())

    def __repr__(self) -> str:
        kind = "" if self.known else " unknown"
        return f"<ResultMeta {self.task_id!r} {self.status}{kind}>"

    @property
    def _content(self) -> Content:
        if self._decoded is None:
            self._decoded = self._reader.content(self.task_id, self.version)
        return self._decoded

    @property
    def document(self) -> Mapping[str, Any]:
        """The record as stored: plain data, tags unread. Do not change it."""
        return self._content[0]

    @property
    def status(self) -> str:
        """The state; `PENDING` if the record's state cannot be read (then `error` says why)."""
        return self._status

    @property
    def state(self) -> str:
        """The same as `status`."""
        return self.status

    @property
    def ready(self) -> bool:
        """Whether the task is over."""
        return self.status in states.READY_STATES

    @property
    def successful(self) -> bool:
        """Whether the task ended in SUCCESS."""
        return self.status == states.SUCCESS

    @property
    def failed(self) -> bool:
        """Whether the task ended in FAILURE."""
        return self.status == states.FAILURE

    @property
    def result(self) -> Any:
        """
        The value, the progress information of an unready task, or the exception of a failed one.
        """
        if self._value is _UNREAD:
            self._value = self._read()
        return self._value

    @property
    def info(self) -> Any:
        """The same as `result`. Reads better for a task that is not ready."""
        return self.result

    def _read(self) -> Any:
        document, revive, fault = self._content
        if fault is not None:
            raise fault.with_traceback(None)
        if self._status in states.EXCEPTION_STATES:
            failure = self.failure
            return None if failure is None else self._reader.exception(failure, wrap=False)
        return document.get("result") if revive is None else self._revived("result")

    @property
    def error(self) -> Exception | None:
        """The reason why the value cannot be read, or `None`."""
        try:
            _ = self.result
        except Exception as error:  # noqa: BLE001 - the exception is the answer
            pass_on_interruption(error)
            return error
        return None

    @property
    def failure(self) -> Failure | None:
        """
        The failure as data; `None` unless the state is FAILURE, REVOKED or RETRY with a reason.
        """
        if self._status not in states.EXCEPTION_STATES:
            return None
        document, revive, fault = self._content
        if fault is not None or (self._status == states.RETRY and document.get("result") is None):
            return None
        return self._reader.failure(document, revive)

    def get(self, *, wrap: bool = False) -> Any:
        """
        Return the value, or raise the task's exception.

        For an unready task, return its `info`. With *wrap* the exception is always a `TaskError` that holds
        the original as data.
        """
        if self._status in states.PROPAGATE_STATES and self._content[2] is None:
            failure = self.failure
            assert failure is not None  # noqa: S101 - both states have one
            # A new exception each time: one that is raised twice grows its traceback.
            raise self._reader.exception(failure, wrap=wrap)
        return self.result

    def _revived(self, key: str) -> Any:
        document, revive, _ = self._content
        value = document.get(key)
        if revive is None:
            return value
        try:
            return revive(value)
        except Exception as error:
            pass_on_interruption(error)
            raise DecodeError(
                self.task_id, f"damaged {key}: {type(error).__name__}: {error}"
            ) from error

    def as_json(self) -> dict[str, Any]:
        """
        Return the record as data for `json.dumps`, in the form of the command line's `--json`.

        Values of types that JSON lacks become text. `error` says why `result` cannot be read. See
        [the keys](../reference/records.md#a-record-as-json).
        """
        return document(self)

    @property
    def change_token(self) -> str:
        """A word that is another one once state, result or traceback changed; heartbeats leave it alone."""
        return token_of(self)

    def values(self) -> dict[str, Any]:
        """
        Return all keys of the record, unknown ones too, with their values. Damaged values stay raw.
        """
        document, revive, _ = self._content
        if revive is None:
            return dict(document)
        values = {}
        for key, raw in document.items():
            try:
                values[key] = revive(raw)
            except Exception as error:  # noqa: BLE001 - kept as it is
                pass_on_interruption(error)
                values[key] = raw
        return values


def whole(meta: ResultMeta) -> dict[str, Any]:
    """Return all keys of the record with their values. Raises the error of one that cannot be read."""
    document, revive, fault = meta._content  # noqa: SLF001 - a part of the class
    if fault is not None:
        raise fault.with_traceback(None)
    if revive is None:
        return dict(document)
    return {key: meta._revived(key) for key in document}  # noqa: SLF001 - as above
