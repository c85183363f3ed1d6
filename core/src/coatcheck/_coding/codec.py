"""
Records as bytes: which serializer writes, what is recognised, what is accepted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from .._record import groups
from .._record.describing import MAX_DEPTH
from .._record.documents import VERSION
from .._record.failures import Failure
from .._record.meta import Content, ResultMeta, Revive, status_of
from .._record.raising import Trusted
from .._record.texts import safe_repr, safe_str
from .._runtime.bare import is_a, items_of, module_of, name_of
from .._runtime.interruptions import is_of_its_own, pass_on_interruption
from ..errors import (
    ConfigurationError,
    ContentDisallowed,
    DecodeError,
    EncodeError,
    PluginError,
    SerializationError,
    SignatureError,
)
from . import compression, envelope, jsontags, limits
from .keys import Keys
from .sealing import DEFAULT_COMPRESS_OVER, Opened, Sealer, unsigned
from .serializers import BUILTINS, Serializer, check_installed, get_serializer, peek_yaml

if TYPE_CHECKING:
    from datetime import datetime

#: Marks the envelope of compressed, signed or encrypted records, see `coatcheck._coding.envelope`.
ENVELOPE_MAGIC: Final = envelope.MAGIC
#: How many first bytes show the state of a record that has it first.
HEAD: Final = 128
DEFAULT_ACCEPT: Final = ("json", "msgpack")

_NAME_IT: Final = "; if another program wrote it, name its serializer in the option serializer="
_STATUS: Final = b'"status"'
#: How many first bytes are looked at for a second state.
_BEGINNING: Final = 1024
_MAX_PATH_DEPTH: Final = 64
_BUILTIN_NAMES: Final = frozenset(serializer.name for serializer in BUILTINS)
_PICKLE: Final = get_serializer("pickle")


class Unreadable(bytes):
    """
    A store's reason why a record that is there cannot be read, in place of the record.
    """

    __slots__ = ()

    def fault(self, task_id: str) -> DecodeError:
        """
        Return the error that reading the record's value raises.
        """
        return DecodeError(task_id, self.decode(errors="replace"))


class Codec:
    """
    Encodes metas with one serializer and decodes what any accepted one wrote.

    Args:
        serializer: its name, or one that follows the `Serializer` protocol; if that has the
            name of a built-in one, it also reads what that would.
        accept: the names of the serializers whose values are decoded.
        strict: refuse to change a value's type, tuples included.
        unsafe_pickle: write pickle unsigned, which every reader has to trust.
        trusted_exceptions: what stored bytes may name, see `Trusted`.
        compression: "zstd", "zlib", or "celery" for what Celery reads.
        compress_over: how many bytes a record has to have more than to be compressed.
        max_inflated: how many bytes a compressed record may have once it is inflated.
        max_values: how many values a record may hold.
        signing_keys: the keys that sign records; the first one writes, all of them read.
        encryption_keys: the keys that encrypt records, likewise.
        accept_unsigned: read what no key has made, although there are keys.
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
        self.serializer: Serializer = get_serializer(serializer)
        check_installed(self.serializer)
        self._sealer = Sealer(
            compress=compression,
            compress_over=compress_over,
            max_inflated=max_inflated,
            signing=signing_keys,
            encryption=encryption_keys,
            accept_unsigned=accept_unsigned,
        )
        self._max_values = max_values
        self._seals = self._sealer.active
        self._guarded = self._sealer.guarded
        # Who signs pickles does not run those of others, though other records may be unsigned.
        self._signed_pickles = self._sealer.keyed and not unsafe_pickle
        if self.serializer.name == "pickle" and not (unsafe_pickle or self._sealer.keyed):
            raise ConfigurationError(
                "the serializer 'pickle' lets whoever can write to the store run code in every "
                "reader: use 'json' or 'msgpack', sign it by signing_keys=, or say "
                "unsafe_pickle=True"
            )
        self.accept: tuple[str, ...] = tuple([accept] if isinstance(accept, str) else accept)
        self.strict = strict
        self._readers = (*self._builtin_readers(), *self._extra_readers())
        # Of values that stand by themselves and of which only is known that they are text.
        self._text_reader = self.serializer if self.serializer.text else self._readers[0]
        self._trusted = Trusted(trusted_exceptions)

    def _builtin_readers(self) -> list[Serializer]:
        # One that bears the name of a built-in one reads what that would: it wrote it.
        own = self.serializer
        return [own if own.name == builtin.name else builtin for builtin in BUILTINS]

    def _extra_readers(self) -> list[Serializer]:
        known = {serializer.name for serializer in (*BUILTINS, self.serializer)}
        extra = [get_serializer(name) for name in self.accept if name not in known]
        return extra if self.serializer.name in _BUILTIN_NAMES else [self.serializer, *extra]

    # -- writing --------------------------------------------------------------------------

    def encode(self, document: Mapping[str, Any]) -> bytes:
        """
        Return the bytes of *document*. Raises `EncodeError`, which names the path at fault.
        """
        try:
            data = self._dumps(document)
        except PluginError:
            raise
        except BaseException as error:
            raise self._refusal(document, error) from error
        if len(data) > self._max_values:
            self._check_values("the record", data)
        if self._seals:
            state, task_id = document["status"], document["task_id"]
            return self._sealer.seal(state, task_id, self.serializer.name, data)
        return data

    def encode_group(self, group_id: str, tree: groups.Tree) -> bytes:
        """
        Return the bytes of the group *tree*, as nested pairs. Raises `EncodeError`.
        """
        document = groups.tree_to_document(group_id, tree)
        try:
            data = self._dumps(document)
        except PluginError:
            raise
        except BaseException as error:
            raise self._refusal(document, error) from error
        self._check_values("the group", data)
        return self._sealer.seal(envelope.GROUP, group_id, self.serializer.name, data)

    def _check_values(self, path: str, data: bytes) -> None:
        if limits.holds_more(self.serializer.name, data, self._max_values):
            raise EncodeError(
                self.serializer.name,
                path,
                f"it holds more than {self._max_values} values, which readers refuse: raise the "
                "option max_values= here and where it is read, or store it in parts",
            )

    def sealed(self, document: Mapping[str, Any]) -> bytes | None:
        """
        Return what a store of fields keeps for `result` in place of most fields of *document*: its
        envelope, which has them all; `None` if it has none. See `decode_fields`.
        """
        return _envelope(self.encode(document)) if self._seals else None

    def sealed_group(self, group_id: str, tree: groups.Tree) -> bytes | None:
        """
        Return the envelope of a group, likewise. `decode_group` reads it.
        """
        return _envelope(self.encode_group(group_id, tree)) if self._seals else None

    def _refusal(self, document: Any, error: BaseException) -> EncodeError:
        _pass_on(error)
        path, value, cause = self._locate(document, error)
        if cause is error and not _is_builtin(error) and self.encodes(document):
            raise error  # the value is not at fault: something else raised it in this thread
        return EncodeError(self.serializer.name, path, _reason(value, cause))

    def _dumps(self, document: Any) -> bytes:
        return self.serializer.dumps(document, strict=self.strict)

    def encode_value(self, name: str, value: Any) -> str | bytes:
        """
        Return *value*, the field *name* of a record, by itself: as text where the serializer writes
        text. Raises `EncodeError`, which names the path at fault.
        """
        try:
            data = self.serializer.dumps_value(value, strict=self.strict)
        except PluginError:
            raise
        except BaseException as error:
            raise self._refusal({name: value}, error) from error
        if len(data) > self._max_values:  # each takes a byte at least
            self._check_values(name, data)
        if self._sealer.celerys:
            packed = self._sealer.pack(data)
            if packed is not data:
                return packed
        return data.decode() if self.serializer.text else data

    def _locate(self, value: Any, error: BaseException) -> tuple[str, Any, BaseException]:
        """
        Follow the first child that cannot be encoded by itself, down to the culprit.
        """
        path = "the record"
        above: set[int] = set()
        while id(value) not in above and len(above) < _MAX_PATH_DEPTH:
            above.add(id(value))
            for step, child in _children(value):
                try:
                    self._dumps({"value": child})
                except BaseException as cause:  # noqa: BLE001
                    _pass_on(cause)
                    path = str(step) if path == "the record" else f"{path}[{safe_repr(step, 200)}]"
                    value, error = child, cause
                    break
        return path, value, error

    def encodes(self, value: Any, *, within: int = 0) -> bool:
        """
        Whether the serializer can keep *value*, *within* so many levels of others.
        """
        try:
            if not any(type(value) is kind for kind in jsontags.PLAIN):
                for _ in range(within):
                    value = [value]
            self._check_values("value", self._dumps({"value": value}))
        except BaseException as error:  # noqa: BLE001
            _pass_on(error)
            return False
        return True

    def keep(self, value: Any) -> Any:
        """
        Return *value* if the serializer can keep it, else its `repr`. Of pickles plain data only.
        """
        # A class that the reader lacks would make the whole record unreadable.
        plain = self.serializer.name != "pickle" or _is_plain(value)
        # There may be causes of causes around it, and groups of groups.
        return value if plain and self.encodes(value, within=2 * MAX_DEPTH) else safe_repr(value)

    # -- reading --------------------------------------------------------------------------

    def decode(self, task_id: str, data: bytes) -> ResultMeta:
        """
        Return the snapshot of the record *data*. Never raises for what the bytes are.

        Where the first bytes show the state, the rest is decoded when it is asked for. Where
        records have to be signed, the state is only what is signed.
        """
        state = None if self._guarded else self._peek(data)
        if state is not None and (
            data.find(_STATUS, len(_STATUS), _BEGINNING) < 0 or not _says_more(data)
        ):
            return ResultMeta(task_id, None, self, status=state, version=data)
        document, revive, fault = self.content(task_id, data)
        return ResultMeta(task_id, document, self, revive=revive, fault=fault, version=data)

    def content(self, task_id: str, version: bytes) -> Content:
        """
        See `coatcheck._record.meta.Reader`; of the records that `decode` has made the version is the data.
        """
        if type(version) is Unreadable:
            return {}, None, version.fault(task_id)
        if self._guarded or version.startswith(ENVELOPE_MAGIC):
            return self._unsealed(task_id, version)
        try:
            document, revive = self._loads(task_id, version)
        except SerializationError as error:
            # What is refused is not decoded, but shows its state.
            state = self._peek(version) or peek_yaml(version)
            return {} if state is None else {"status": state}, None, error
        return document, revive, _fault_of(task_id, document)

    def _unsealed(self, task_id: str, data: object) -> Content:
        """
        Return what is in the envelope *data*, if it is one: where its value cannot be read, the
        state, as far as that is to be trusted.
        """
        if not self.is_sealed(data):
            return {}, None, unsigned(task_id)
        state = None if self._guarded else envelope.peek(data)
        try:
            opened = self._sealer.open(task_id, data)
            state = opened.state
            document, revive = self._read_opened(task_id, opened)
        except SerializationError as error:
            return {} if state is None else {"status": state}, None, error
        if document.get("status") != state:
            fault = DecodeError(task_id, f"its envelope is that of the state {state!r}")
            return {}, None, fault
        return document, revive, _fault_of(task_id, document)

    def _read_opened(self, task_id: str, opened: Opened) -> tuple[dict[str, Any], Revive | None]:
        reader = self._named(task_id, opened.serializer)
        assert reader is not None  # noqa: S101 - only where no name is given
        document, revive = self._read(task_id, reader, opened.body, authentic=opened.authentic)
        if not isinstance(document, dict):
            raise _not_a_mapping(task_id, document)
        return document, revive

    def decode_fields(
        self,
        task_id: str,
        fields: dict[str, Any],
        encoded: Collection[str],
        *,
        serializer: str | None = None,
        version: Any = None,
    ) -> ResultMeta:
        """
        Return the snapshot of a record whose fields are kept apart. Never raises for what they are.

        The snapshot takes *fields* over. Those named in *encoded* are as `encode_value` made them, by *serializer*, if that is known.
        If not, the type decides: text is JSON, or of this codec's serializer if that writes text;
        bytes are likewise of the first serializer for bytes that is accepted. What is neither is
        the value itself.

        Where `result` is an envelope, all else is of no account: the record is in there.
        """
        result = fields.get("result")
        if self._guarded or (isinstance(result, bytes) and result.startswith(ENVELOPE_MAGIC)):
            return self._sealed_fields(task_id, fields, version)
        unread = _UnreadFields(self, fields, encoded, serializer)
        return ResultMeta(task_id, None, unread, status=status_of(fields), version=version)

    def read_fields(
        self, task_id: str, fields: dict[str, Any], encoded: Collection[str], serializer: str | None
    ) -> Content:
        """
        Return what a snapshot of `decode_fields` holds. Never raises for what the fields are.
        """
        fault: Exception | None = None
        revive: Revive | None = None
        fields = dict(fields)  # others may read it meanwhile
        for name in encoded:
            value = fields.get(name)
            if not isinstance(value, (str, bytes)):
                continue
            try:
                fields[name], tagged = self._loads_value(task_id, value, serializer)
            except SerializationError as error:
                fault = fault or error
            else:
                revive = tagged or revive
        return fields, revive, _fault_of(task_id, fields) or fault

    def _sealed_fields(self, task_id: str, fields: Mapping[str, Any], version: Any) -> ResultMeta:
        document, revive, fault = self._unsealed(task_id, fields.get("result"))
        status = fields.get("status")
        if not document and not self._guarded and isinstance(status, str):
            document = {"status": status}
        return ResultMeta(task_id, document, self, revive=revive, fault=fault, version=version)

    def is_sealed(self, value: object) -> TypeGuard[bytes]:
        """
        Whether *value* is an envelope.
        """
        return isinstance(value, bytes) and value.startswith(ENVELOPE_MAGIC)

    def decode_value(self, id_: str, value: str | bytes, *, serializer: str | None = None) -> Any:
        """
        Return a value that stands by itself, such as a group's list of ids; see `decode_fields`.
        Raises `SerializationError`.
        """
        self.refuse_unsealed(id_)
        return self._loads_value(id_, value, serializer)[0]

    def refuse_unsealed(self, id_: str) -> None:
        """
        Raise `SignatureError` where records, such as the one of *id_*, would have to be sealed.
        """
        if self._guarded:
            raise unsigned(id_)

    def _loads_value(
        self, task_id: str, value: str | bytes, name: str | None
    ) -> tuple[Any, Revive | None]:
        if isinstance(value, str):
            body, text = value.encode("utf-8", "surrogatepass"), True
        else:
            body = self._plain(task_id, value)
            if body.startswith(ENVELOPE_MAGIC):
                raise DecodeError(task_id, "there is an envelope in place of a value")
            # What Celery compressed may have been text.
            text = body is not value and self.serializer.text
        if text and name is None:
            return self._read(task_id, self._text_reader, body, otherwise=_NAME_IT)
        named = self._named(task_id, name)
        if named is not None:
            return self._read(task_id, named, body)
        return self._read(task_id, self._bytes_reader(task_id, body), body, otherwise=_NAME_IT)

    def _named(self, task_id: str, name: str | None) -> Serializer | None:
        if name is None:
            return None
        for reader in (self.serializer, *self._readers):
            if reader.name == name:
                return reader
        raise ContentDisallowed(task_id, name, self.accept)

    def _bytes_reader(self, task_id: str, body: bytes) -> Serializer:
        own, head = self.serializer, body[:HEAD]
        readers = [own, *(r for r in self._readers if r.name in (*self.accept, "pickle"))]
        # A pickle of more than one byte is valid as nothing else, so this is no guess.
        is_pickle = own.name in _BUILTIN_NAMES and _PICKLE.recognises(head)
        for reader in readers:
            if not reader.text and (reader.name == "pickle") == is_pickle:
                return reader
        raise DecodeError(
            task_id,
            f"its first bytes {body[:8]!r} belong to no serializer known here{_NAME_IT}",
        )

    def decode_group(self, group_id: str, data: bytes) -> list[str]:
        """
        Return the ids of the tasks of the group *data*. Raises `SerializationError`.
        """
        return groups.from_document(group_id, self._group(group_id, data))

    def decode_group_tree(self, group_id: str, data: bytes) -> groups.Tree:
        """
        Return the nested pairs of the group *data*. Raises `SerializationError`.
        """
        return groups.tree_from_document(group_id, self._group(group_id, data))

    def _group(self, group_id: str, data: bytes) -> dict[str, Any]:
        if isinstance(data, Unreadable):
            raise data.fault(group_id)
        if not self.is_sealed(data):
            self.refuse_unsealed(group_id)
            return self._loads(group_id, data)[0]
        opened = self._sealer.open(group_id, data)
        if opened.state != envelope.GROUP:
            raise DecodeError(group_id, "its envelope is not that of a group")
        return self._read_opened(group_id, opened)[0]

    def _loads(self, task_id: str, data: bytes) -> tuple[dict[str, Any], Revive | None]:
        packed = data.startswith(compression.MARKER)
        body = self._plain(task_id, data) if packed else data
        document, revive = self._read(task_id, self._reader_of(task_id, body), body)
        if not isinstance(document, dict):
            raise _not_a_mapping(task_id, document)
        return document, revive

    def _read(
        self,
        task_id: str,
        serializer: Serializer,
        body: bytes,
        *,
        otherwise: str = "",
        authentic: bool = False,
    ) -> tuple[Any, Revive | None]:
        if serializer.name not in self.accept:
            raise ContentDisallowed(task_id, serializer.name, self.accept)
        if self._signed_pickles and not authentic and serializer.name == "pickle":
            raise SignatureError(
                task_id, "it is an unsigned pickle: say unsafe_pickle=True to read it all the same"
            )
        if len(body) > self._max_values:
            self._check_body(task_id, serializer, body)
        try:
            value, tagged = serializer.loads(body)
        except PluginError as error:
            raise DecodeError(task_id, str(error)) from error  # it is not damaged
        except Exception as error:
            pass_on_interruption(error)
            raise DecodeError(
                task_id, f"damaged {serializer.name}: {type(error).__name__}: {error}{otherwise}"
            ) from error
        return value, serializer.revive if tagged else None

    def _check_body(self, task_id: str, serializer: Serializer, body: bytes) -> None:
        if limits.holds_more(serializer.name, body, self._max_values):
            raise DecodeError(
                task_id,
                f"it holds more than {self._max_values} values: if whoever wrote it is to be "
                "trusted, raise the option max_values=",
            )

    def _plain(self, task_id: str | None, data: bytes) -> bytes:
        return self._sealer.inflated(task_id, data) if data.startswith(compression.MARKER) else data

    def _reader_of(self, task_id: str, body: bytes) -> Serializer:
        head = body[:HEAD]
        # The reader's own word goes first: another serializer's records may look like JSON.
        own = self.serializer
        if own.recognises(head):
            return own
        for serializer in self._readers:
            if serializer.recognises(head):
                return serializer
        # A serializer without a signature of its own is taken at the reader's word.
        if own.name not in _BUILTIN_NAMES:
            return own
        raise DecodeError(
            task_id,
            f"its first bytes {head[:8]!r} belong to no serializer known here{_NAME_IT}",
        )

    def _peek(self, data: bytes) -> str | None:
        # Nor is more inflated than shows the state, whatever the rest would come to.
        packed = data.startswith(compression.MARKER)
        head = compression.head(data, HEAD) if packed else data[:HEAD]
        for reader in self._readers:
            if (state := reader.peek(head)) is not None:
                return state
        return envelope.peek(data)

    def state_of(self, data: bytes) -> str | None:
        """
        Return the state of the record *data*, by its first bytes where they show it, whether signed
        or not: it decides what is replaced, as it does in stores that decide it themselves.

        `None` where it cannot be read: such a record is not protected.
        """
        state = self._peek(data)
        if state is not None:
            return state
        document: Mapping[str, Any] = self.decode("", data).document
        found = document.get("status")
        return found if isinstance(found, str) else None

    def id_of(self, data: bytes) -> str | None:
        """
        Return the id of the task whose record *data* is, of one that was just encoded.
        """
        if self.is_sealed(data):
            return envelope.parse(data).task_id
        found = self.decode("", data).document.get("task_id")
        return found if isinstance(found, str) else None

    def unknown(self, task_id: str) -> ResultMeta:
        """
        Return the snapshot of a task for which nothing is stored.
        """
        return ResultMeta(task_id, {"status": "PENDING", "result": None}, self, known=False)

    def written(self, document: Mapping[str, Any]) -> ResultMeta:
        """
        Return the snapshot of a record about to be stored, its values as they are.
        """
        return ResultMeta(document["task_id"], document, self)

    # -- what ResultMeta asks of its reader -----------------------------------------------

    def failure(self, document: Mapping[str, Any], revive: Revive | None) -> Failure:
        """
        See `coatcheck._record.meta.Reader`.
        """
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
        """
        See `coatcheck._record.meta.Reader`.
        """
        return failure.exception(self._trusted, wrap=wrap)


class _UnreadFields:
    """
    The fields of a record, whose values are decoded when they are asked for.
    """

    __slots__ = ("_codec", "_encoded", "_fields", "_serializer")

    def __init__(
        self,
        codec: Codec,
        fields: dict[str, Any],
        encoded: Collection[str],
        serializer: str | None,
    ) -> None:
        self._codec = codec
        self._fields = fields
        self._encoded = encoded
        self._serializer = serializer

    def content(self, task_id: str, version: Any) -> Content:
        """
        See `coatcheck._record.meta.Reader`.
        """
        del version
        return self._codec.read_fields(task_id, self._fields, self._encoded, self._serializer)

    def failure(self, document: Mapping[str, Any], revive: Revive | None) -> Failure:
        """
        See `coatcheck._record.meta.Reader`.
        """
        return self._codec.failure(document, revive)

    def exception(self, failure: Failure, *, wrap: bool) -> Exception:
        """
        See `coatcheck._record.meta.Reader`.
        """
        return self._codec.exception(failure, wrap=wrap)


def _says_more(data: bytes) -> bool:
    """
    Whether the beginning of a record has its state a second time: of equal keys the last one counts.
    """
    at = data.find(_STATUS, len(_STATUS), _BEGINNING)
    while at > 0:
        before = data[:at]
        # One brace is open: that of the record.
        if before.count(b"{") - before.count(b"}") == 1:
            return True
        at = data.find(_STATUS, at + 1, _BEGINNING)
    return False


def _envelope(data: bytes) -> bytes | None:
    return data if data.startswith(ENVELOPE_MAGIC) else None


def _not_a_mapping(task_id: str, document: Any) -> DecodeError:
    return DecodeError(task_id, f"a record is a mapping, not {type(document).__name__}")


def _pass_on(error: BaseException) -> None:
    """
    Raise *error* again unless it is of the value that was encoded.
    """
    if not is_of_its_own(error):
        pass_on_interruption(error)
        raise error


def _is_plain(value: Any) -> bool:
    try:
        jsontags.to_plain(value, strict=True)
    except BaseException as error:  # noqa: BLE001
        _pass_on(error)
        return False
    return True


def _is_builtin(error: BaseException) -> bool:
    return module_of(type(error)) == "builtins"


def _revived(value: Any, revive: Revive | None) -> Any:
    if revive is None:
        return value
    try:
        return revive(value)
    except Exception as error:  # noqa: BLE001 - the rest of the failure is worth more than the tag
        pass_on_interruption(error)
        return value


def _children(value: Any) -> Iterable[tuple[Any, Any]]:
    if is_a(value, dict):
        return [*dict.items(value)]
    return enumerate(items_of(value))


def _reason(value: Any, cause: BaseException) -> str:
    if isinstance(cause, RecursionError):
        return (
            "it is nested too deeply, or contains itself: there may be "
            f"{jsontags.MAX_DEPTH} levels, as far as the stack has room here"
        )
    return f"{name_of(type(value))}: {safe_str(cause)}"


def _fault_of(task_id: str, document: Mapping[str, Any]) -> DecodeError | None:
    version = document.get("v")
    if isinstance(version, int) and version > VERSION:
        return DecodeError(
            task_id, f"it has version {version}, this coatcheck reads up to {VERSION}: upgrade it"
        )
    if not isinstance(document.get("status"), str):
        return DecodeError(task_id, "it has no status, so it is not a task's record")
    return None


def _note(document: Mapping[str, Any]) -> str:
    parts = [f"task {document.get('task_id')!r}"]
    for key, word in (("name", "named"), ("worker", "on worker"), ("date_done", "at")):
        value: str | datetime | None = document.get(key)
        if value:
            parts.append(f"{word} {value}")
    return "raised by " + " ".join(parts)
