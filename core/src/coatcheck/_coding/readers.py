"""
Bytes as documents: which serializer wrote them, and whether this reader accepts it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from .._record.meta import Revive
from .._runtime.interruptions import pass_on_interruption
from ..errors import ContentDisallowed, DecodeError, PluginError, SignatureError
from . import compression, envelope, limits
from .sealing import Opened, Sealer
from .serializers import BUILTINS, Serializer, get_serializer

#: How many first bytes show the state of a record that has it first.
HEAD: Final = 128

_NAME_IT: Final = "; if another program wrote it, name its serializer in the option serializer="
_BUILTIN_NAMES: Final = frozenset(serializer.name for serializer in BUILTINS)
_PICKLE: Final = get_serializer("pickle")

#: A document or value, and the function that reads its tags; `None` if it has no tags.
Loaded = tuple[object, Revive | None]


class Readers:
    """
    The serializers that read, the writer's own first.

    Args:
        own: the serializer that writes.
        accept: the names of the serializers whose values are decoded.
        max_values: how many values a record may hold.
        unsafe_pickle: read unsigned pickles although there are keys.
    """

    def __init__(
        self,
        own: Serializer,
        sealer: Sealer,
        *,
        accept: Iterable[str],
        max_values: int,
        unsafe_pickle: bool,
    ) -> None:
        self.accept: tuple[str, ...] = tuple([accept] if isinstance(accept, str) else accept)
        self._own = own
        self._sealer = sealer
        self._max_values = max_values
        # Even if other records may be unsigned: running a stranger's pickle would void the signatures.
        self._signed_pickles = sealer.keyed and not unsafe_pickle
        # A serializer with the name of a built-in one replaces it as a reader.
        builtins = [own if own.name == builtin.name else builtin for builtin in BUILTINS]
        known = {serializer.name for serializer in (*BUILTINS, own)}
        extra = [get_serializer(name) for name in self.accept if name not in known]
        self._foreign = own.name not in _BUILTIN_NAMES
        self._all = (*builtins, *([own] if self._foreign else []), *extra)
        # Reads text whose serializer is not known.
        self._text_reader = own if own.text else self._all[0]

    def peek(self, data: bytes) -> str | None:
        """Return the state if the first bytes of the record *data* show it."""
        # Only the beginning is inflated, however long the rest would get.
        packed = data.startswith(compression.MARKER)
        head = compression.head(data, HEAD) if packed else data[:HEAD]
        for reader in self._all:
            if (state := reader.peek(head)) is not None:
                return state
        return envelope.peek(data)

    def document(self, task_id: str, data: bytes) -> tuple[dict[str, Any], Revive | None]:
        """Return the document in the plain record *data*. Raises `SerializationError`."""
        body = self._plain(task_id, data)
        return _mapping(task_id, self._read(task_id, self._reader_of(task_id, body), body))

    def opened(self, task_id: str, opened: Opened) -> tuple[dict[str, Any], Revive | None]:
        """Return the document from an envelope. Raises `SerializationError`."""
        reader = self._named(task_id, opened.serializer)
        loaded = self._read(task_id, reader, opened.body, authentic=opened.authentic)
        return _mapping(task_id, loaded)

    def value(self, task_id: str, value: str | bytes, name: str | None) -> Loaded:
        """
        Return a value that was stored alone, by the serializer *name* if that is known.

        Otherwise the type decides, see `Codec.decode_fields`. Raises `SerializationError`.
        """
        if isinstance(value, str):
            body, text = value.encode("utf-8", "surrogatepass"), True
        else:
            body = self._plain(task_id, value)
            if body.startswith(envelope.MAGIC):
                raise DecodeError(task_id, "there is an envelope in place of a value")
            # Celery may have compressed text.
            text = body is not value and self._own.text
        if name is not None:
            return self._read(task_id, self._named(task_id, name), body)
        reader = self._text_reader if text else self._bytes_reader(task_id, body)
        return self._read(task_id, reader, body, otherwise=_NAME_IT)

    def _read(
        self,
        task_id: str,
        serializer: Serializer,
        body: bytes,
        *,
        otherwise: str = "",
        authentic: bool = False,
    ) -> Loaded:
        if serializer.name not in self.accept:
            raise ContentDisallowed(task_id, serializer.name, self.accept)
        if self._signed_pickles and not authentic and serializer.name == "pickle":
            raise SignatureError(
                task_id, "it is an unsigned pickle: give unsafe_pickle=True to read it anyway"
            )
        if len(body) > self._max_values:
            self._check_values(task_id, serializer, body)
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

    def _check_values(self, task_id: str, serializer: Serializer, body: bytes) -> None:
        if limits.holds_more(serializer.name, body, self._max_values):
            raise DecodeError(
                task_id,
                f"it holds more than {self._max_values} values: if you trust its writer, raise "
                "the option max_values=",
            )

    def _plain(self, task_id: str, data: bytes) -> bytes:
        return self._sealer.inflated(task_id, data) if data.startswith(compression.MARKER) else data

    def _named(self, task_id: str, name: str) -> Serializer:
        for reader in (self._own, *self._all):
            if reader.name == name:
                return reader
        raise ContentDisallowed(task_id, name, self.accept)

    def _reader_of(self, task_id: str, body: bytes) -> Serializer:
        head = body[:HEAD]
        # Our own first: another serializer's records may look like JSON.
        for reader in (self._own, *self._all):
            if reader.recognises(head):
                return reader
        # A foreign serializer may have no signature; its owner named it.
        if self._foreign:
            return self._own
        raise _unknown(task_id, body)

    def _bytes_reader(self, task_id: str, body: bytes) -> Serializer:
        # Nothing else that starts like a pickle of more than one byte is valid: this is no guess.
        is_pickle = not self._foreign and _PICKLE.recognises(body[:HEAD])
        for reader in (self._own, *self._all):
            wanted = reader is self._own or reader.name in (*self.accept, "pickle")
            if wanted and not reader.text and (reader.name == "pickle") == is_pickle:
                return reader
        raise _unknown(task_id, body)


def _mapping(task_id: str, loaded: Loaded) -> tuple[dict[str, Any], Revive | None]:
    document, revive = loaded
    if not isinstance(document, dict):
        raise DecodeError(task_id, f"a record is a mapping, not {type(document).__name__}")
    return document, revive


def _unknown(task_id: str, body: bytes) -> DecodeError:
    return DecodeError(
        task_id, f"its first bytes {body[:8]!r} belong to no serializer known here{_NAME_IT}"
    )
