"""
Stored bytes and fields as snapshots of records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeGuard

from .._record import groups
from .._record.documents import VERSION
from .._record.failures import Failure
from .._record.meta import Content, ResultMeta, Revive, status_of
from .._record.raising import Trusted
from .._runtime.interruptions import pass_on_interruption
from ..errors import ConfigurationError, DecodeError, SerializationError
from . import compression, envelope, limits
from .encoding import Encoder
from .keys import Keys
from .readers import Readers
from .sealing import DEFAULT_COMPRESS_OVER, Sealer, unsigned
from .serializers import Serializer, check_installed, get_serializer, peek_yaml
from .verbatim import SealedMeta

#: Marks the envelope of compressed, signed or encrypted records, see `coatcheck._coding.envelope`.
ENVELOPE_MAGIC: Final = envelope.MAGIC
DEFAULT_ACCEPT: Final = ("json", "msgpack")

_STATUS: Final = b'"status"'
#: How many first bytes are searched for a second state.
_BEGINNING: Final = 1024


class Unreadable(bytes):
    """A store's reason why it cannot read a record, in place of the record."""

    __slots__ = ()

    def fault(self, task_id: str) -> DecodeError:
        """Return the error that reading the record's value raises."""
        return DecodeError(task_id, self.decode(errors="replace"))


class Codec(Encoder):
    """
    Encodes documents with one serializer and decodes records of any accepted one.

    Args:
        serializer: a name, or an object with the `Serializer` protocol. An object with the name of
            a built-in serializer also reads that serializer's records.
        accept: the names of the serializers whose values are decoded.
        strict: refuse to change a value's type, tuples included.
        unsafe_pickle: write pickle unsigned, which every reader has to trust.
        trusted_exceptions: the exception classes that stored bytes may name, see `Trusted`.
        compression: "zstd", "zlib", or "celery", which Celery can read.
        compress_over: records larger than this many bytes are compressed.
        max_inflated: the most bytes that a compressed record may inflate to.
        max_values: how many values a record may hold.
        signing_keys: the keys that sign records. The first one writes, all of them read.
        encryption_keys: the keys that encrypt records. The first one writes, all of them read.
        accept_unsigned: also accept unsigned records although keys are configured.
    """

    def __init__(
        self,
        serializer: str | Serializer = "json",
        *,
        accept: Iterable[str] = DEFAULT_ACCEPT,
        strict: bool = False,
        unsafe_pickle: bool = False,
        trusted_exceptions: Iterable[str | type[Exception]] = (),
        compression: str | None = None,
        compress_over: int = DEFAULT_COMPRESS_OVER,
        max_inflated: int = compression.MAX_INFLATED,
        max_values: int = limits.MAX_VALUES,
        signing_keys: Keys | None = None,
        encryption_keys: Keys | None = None,
        accept_unsigned: bool = False,
    ) -> None:
        own = get_serializer(serializer)
        check_installed(own)
        sealer = Sealer(
            compress=compression,
            compress_over=compress_over,
            max_inflated=max_inflated,
            signing=signing_keys,
            encryption=encryption_keys,
            accept_unsigned=accept_unsigned,
        )
        if own.name == "pickle" and not (unsafe_pickle or sealer.keyed):
            raise ConfigurationError(
                "the serializer 'pickle' lets anyone who can write to the store run code in every "
                "reader: use 'json' or 'msgpack', sign records with signing_keys=, or give "
                "unsafe_pickle=True"
            )
        super().__init__(own, sealer, max_values=max_values, strict=strict)
        self._readers = Readers(
            own, sealer, accept=accept, max_values=max_values, unsafe_pickle=unsafe_pickle
        )
        self.accept: tuple[str, ...] = self._readers.accept
        self._peek = self._readers.peek
        self._guarded = sealer.guarded
        self._trusted = Trusted(trusted_exceptions)

    @property
    def guarded(self) -> bool:
        """Whether unsigned records are refused."""
        return self._guarded

    # -- whole records --------------------------------------------------------------------

    def decode(self, task_id: str, data: bytes) -> ResultMeta:
        """
        Return the snapshot of the record *data*. Never raises because of the bytes.

        If the first bytes show the state, the rest is decoded on first use. If records must be
        signed, only a signed state counts.
        """
        state = None if self._guarded else self._peek(data)
        if state is not None and (
            data.find(_STATUS, len(_STATUS), _BEGINNING) < 0 or not _has_second_state(data)
        ):
            return ResultMeta(task_id, None, self, status=state, version=data)
        document, revive, fault = self.content(task_id, data)
        return ResultMeta(task_id, document, self, revive=revive, fault=fault, version=data)

    def content(self, task_id: str, version: bytes) -> Content:
        """
        See `coatcheck._record.meta.Reader`. The version of a snapshot from `decode` is the data.
        """
        if type(version) is Unreadable:
            return {}, None, version.fault(task_id)
        if self._guarded or version.startswith(ENVELOPE_MAGIC):
            return self._unsealed(task_id, version)
        try:
            document, revive = self._readers.document(task_id, version)
        except SerializationError as error:
            # A refused record is not decoded, but shows its state.
            state = self._peek(version) or peek_yaml(version)
            return {} if state is None else {"status": state}, None, error
        return document, revive, _fault_of(task_id, document)

    def _unsealed(self, task_id: str, data: object) -> Content:
        """
        Open the envelope *data* and return its content; only the state if the value cannot be read.
        """
        if not self.is_sealed(data):
            return {}, None, unsigned(task_id)
        state = None if self._guarded else envelope.peek(data)
        try:
            opened = self._sealer.open(task_id, data)
            state = opened.state
            document, revive = self._readers.opened(task_id, opened)
        except SerializationError as error:
            return {} if state is None else {"status": state}, None, error
        if document.get("status") != state:
            fault = DecodeError(task_id, f"its envelope says that the state is {state!r}")
            return {}, None, fault
        return document, revive, _fault_of(task_id, document)

    def is_sealed(self, value: object) -> TypeGuard[bytes]:
        """Whether *value* is an envelope."""
        return isinstance(value, bytes) and value.startswith(ENVELOPE_MAGIC)

    def refuse_unsealed(self, id_: str) -> None:
        """Raise `SignatureError` if records, such as that of *id_*, must be sealed."""
        if self._guarded:
            raise unsigned(id_)

    def state_of(self, data: bytes) -> str | None:
        """
        Return the state of the record *data*, signed or not; `None` if it cannot be read.

        It decides which records are protected. Stores that decide this themselves see no more.
        """
        state = self._peek(data)
        if state is not None:
            return state
        found = self.decode("", data).document.get("status")
        return found if isinstance(found, str) else None

    def id_of(self, data: bytes) -> str | None:
        """Return the task id in the record *data*, which was just encoded."""
        if self.is_sealed(data):
            return envelope.parse(data).task_id
        found = self.decode("", data).document.get("task_id")
        return found if isinstance(found, str) else None

    def unknown(self, task_id: str) -> ResultMeta:
        """Return the snapshot of a task for which nothing is stored."""
        return ResultMeta(task_id, {"status": "PENDING", "result": None}, self, known=False)

    def written(self, document: Mapping[str, Any]) -> ResultMeta:
        """Return the snapshot of a record about to be stored, its values unchanged."""
        return ResultMeta(document["task_id"], document, self)

    # -- records whose fields are stored apart --------------------------------------------

    def decode_fields(
        self,
        task_id: str,
        fields: dict[str, Any],
        encoded: Collection[str],
        *,
        serializer: str | None = None,
        version: object = None,
    ) -> ResultMeta:
        """
        Return the snapshot of a record whose fields are stored apart. Never raises because of them.

        The snapshot owns *fields*. Those in *encoded* are from `encode_value`, by *serializer* if it
        is known. Otherwise the type decides: text is JSON, or this codec's serializer if that writes
        text; bytes belong to the first accepted serializer of bytes; other values stay as they are.

        If `result` is an envelope, only its content counts.
        """
        result = fields.get("result")
        if self._guarded or (isinstance(result, bytes) and result.startswith(ENVELOPE_MAGIC)):
            return self._sealed_fields(task_id, fields, version)
        unread = _UnreadFields(self, self._readers, fields, encoded, serializer)
        return ResultMeta(task_id, None, unread, status=status_of(fields), version=version)

    def _sealed_fields(
        self, task_id: str, fields: Mapping[str, object], version: object
    ) -> ResultMeta:
        document, revive, fault = self._unsealed(task_id, fields.get("result"))
        status = fields.get("status")
        if not document and not self._guarded and isinstance(status, str):
            document = {"status": status}
        meta = SealedMeta(task_id, document, self, revive=revive, fault=fault, version=version)
        meta.fields = fields
        return meta

    def decode_value(self, id_: str, value: str | bytes, *, serializer: str | None = None) -> Any:
        """
        Return a value that was stored alone, such as a group's list of ids; see `decode_fields`.
        Raises `SerializationError`.
        """
        self.refuse_unsealed(id_)
        return self._readers.value(id_, value, serializer)[0]

    # -- groups ---------------------------------------------------------------------------

    def decode_group(self, group_id: str, data: bytes) -> list[str]:
        """Return the ids of the tasks of the group *data*. Raises `SerializationError`."""
        return groups.from_document(group_id, self._group(group_id, data))

    def decode_group_tree(self, group_id: str, data: bytes) -> groups.Tree:
        """Return the nested pairs of the group *data*. Raises `SerializationError`."""
        return groups.tree_from_document(group_id, self._group(group_id, data))

    def _group(self, group_id: str, data: bytes) -> dict[str, Any]:
        if isinstance(data, Unreadable):
            raise data.fault(group_id)
        if not self.is_sealed(data):
            self.refuse_unsealed(group_id)
            return self._readers.document(group_id, data)[0]
        opened = self._sealer.open(group_id, data)
        if opened.state != envelope.GROUP:
            raise DecodeError(group_id, "its envelope is not that of a group")
        return self._readers.opened(group_id, opened)[0]

    # -- failures -------------------------------------------------------------------------

    def failure(self, document: Mapping[str, object], revive: Revive | None) -> Failure:
        """See `coatcheck._record.meta.Reader`."""
        stored = document.get("failure")
        failure = (
            Failure.from_document(_revived(stored, revive))
            if isinstance(stored, dict)
            else Failure.from_celery(_revived(document.get("result"), revive))
        )
        traceback = document.get("traceback")
        failure.traceback = traceback if isinstance(traceback, str) else None
        failure.note = _note(document)
        return failure

    def exception(self, failure: Failure, *, wrap: bool) -> Exception:
        """See `coatcheck._record.meta.Reader`."""
        return failure.exception(self._trusted, wrap=wrap)


class _UnreadFields:
    """The fields of a record, decoded on first use."""

    __slots__ = ("_codec", "_encoded", "_fields", "_readers", "_serializer")

    def __init__(
        self,
        codec: Codec,
        readers: Readers,
        fields: dict[str, Any],
        encoded: Collection[str],
        serializer: str | None,
    ) -> None:
        self._codec = codec
        self._readers = readers
        self._fields = fields
        self._encoded = encoded
        self._serializer = serializer

    def content(self, task_id: str, version: object) -> Content:
        """See `coatcheck._record.meta.Reader`."""
        del version
        fault: Exception | None = None
        revive: Revive | None = None
        fields = dict(self._fields)  # other threads may read it
        for name in self._encoded:
            value = fields.get(name)
            if not isinstance(value, (str, bytes)):
                continue
            try:
                fields[name], tagged = self._readers.value(task_id, value, self._serializer)
            except SerializationError as error:
                fault = fault or error
            else:
                revive = tagged or revive
        return fields, revive, _fault_of(task_id, fields) or fault

    def failure(self, document: Mapping[str, object], revive: Revive | None) -> Failure:
        """See `coatcheck._record.meta.Reader`."""
        return self._codec.failure(document, revive)

    def exception(self, failure: Failure, *, wrap: bool) -> Exception:
        """See `coatcheck._record.meta.Reader`."""
        return self._codec.exception(failure, wrap=wrap)


def _has_second_state(data: bytes) -> bool:
    """Whether the beginning of a record has a second state, which replaces the first in JSON."""
    at = data.find(_STATUS, len(_STATUS), _BEGINNING)
    while at > 0:
        before = data[:at]
        # One brace is open: that of the record.
        if before.count(b"{") - before.count(b"}") == 1:
            return True
        at = data.find(_STATUS, at + 1, _BEGINNING)
    return False


def _revived(value: object, revive: Revive | None) -> object:
    if revive is None:
        return value
    try:
        return revive(value)
    except Exception as error:  # noqa: BLE001 - the rest of the failure is worth more than the tag
        pass_on_interruption(error)
        return value


def _fault_of(task_id: str, document: Mapping[str, object]) -> DecodeError | None:
    version = document.get("v")
    if isinstance(version, int) and version > VERSION:
        return DecodeError(
            task_id, f"it has version {version}, this coatcheck reads up to {VERSION}: upgrade it"
        )
    if not isinstance(document.get("status"), str):
        return DecodeError(task_id, "it has no status, so it is not a task's record")
    return None


def _note(document: Mapping[str, object]) -> str:
    parts = [f"task {document.get('task_id')!r}"]
    for key, word in (("name", "named"), ("worker", "on worker"), ("date_done", "at")):
        value = document.get(key)
        if value:
            parts.append(f"{word} {value}")
    return "raised by " + " ".join(parts)
