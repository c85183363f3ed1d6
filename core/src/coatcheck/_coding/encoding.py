"""
Documents as bytes: records, groups, and values that are stored alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._record import groups
from .._record.describing import MAX_DEPTH
from .._record.texts import safe_repr
from ..errors import EncodeError
from . import envelope, jsontags, limits
from .ownclasses import OwnClasses
from .refusals import pass_on, passes, refusal
from .sealing import Sealer
from .serializers import Serializer
from .verbatim import Verbatim


class Encoder:
    """
    Encodes documents with one serializer, and seals them.

    Args:
        max_values: how many values a record may hold.
        strict: refuse to change a value's type.
    """

    def __init__(
        self, serializer: Serializer, sealer: Sealer, *, max_values: int, strict: bool
    ) -> None:
        self.serializer: Serializer = serializer
        self.strict = strict
        self._sealer = sealer
        self._max_values = max_values
        self._seals = sealer.active
        #: The classes of the application that are stored as plain data.
        self.own_classes: OwnClasses | None = None

    def encode(self, document: Mapping[str, object]) -> bytes:
        """Return the bytes of *document*. Raises `EncodeError`, which names the path at fault."""
        if type(document) is Verbatim:
            return document.data
        try:
            data = self._dumps(document)
        except BaseException as error:
            raise self._refusal(document, error) from error
        if len(data) > self._max_values:  # each value takes a byte at least
            self._check_values("the record", data)
        if self._seals:
            state, task_id = str(document["status"]), str(document["task_id"])
            return self._sealer.seal(state, task_id, self.serializer.name, data)
        return data

    def encode_group(self, group_id: str, tree: groups.Tree) -> bytes:
        """Return the bytes of the group *tree*, as nested pairs. Raises `EncodeError`."""
        document = groups.tree_to_document(group_id, tree)
        try:
            data = self._dumps(document)
        except BaseException as error:
            raise self._refusal(document, error) from error
        self._check_values("the group", data)
        return self._sealer.seal(envelope.GROUP, group_id, self.serializer.name, data)

    def encode_value(self, name: str, value: object) -> str | bytes:
        """
        Return *value*, the field *name* of a record, alone: text if the serializer writes text.

        Raises `EncodeError`, which names the path at fault.
        """
        try:
            plain = value if self.own_classes is None else self.own_classes.plain(value)
            data = self.serializer.dumps_value(plain, strict=self.strict)
        except BaseException as error:
            raise self._refusal({name: value}, error) from error
        if len(data) > self._max_values:
            self._check_values(name, data)
        if self._sealer.celerys:
            packed = self._sealer.pack(data)
            if packed is not data:
                return packed
        return data.decode() if self.serializer.text else data

    def sealed(self, document: Mapping[str, object]) -> bytes | None:
        """
        Return the envelope of *document*, `None` if it needs none.

        A store of fields keeps it as `result`, in place of most other fields. `decode_fields` reads it.
        """
        known = self._seals or type(document) is Verbatim
        return _envelope(self.encode(document)) if known else None

    def sealed_group(self, group_id: str, tree: groups.Tree) -> bytes | None:
        """Return the envelope of a group, `None` if it needs none. `decode_group` reads it."""
        return _envelope(self.encode_group(group_id, tree)) if self._seals else None

    def encodes(self, value: object, *, within: int = 0) -> bool:
        """Whether the serializer can keep *value* inside *within* levels of other values."""
        # `in` would call the hash of a metaclass.
        if not any(type(value) is kind for kind in jsontags.PLAIN):
            for _ in range(within):
                value = [value]
        return passes(value, self._checked)

    def keep(self, value: object) -> object:
        """
        Return *value* if the serializer can keep it, else its `repr`. Pickle keeps only plain data.
        """
        # A class that the reader lacks would make the whole record unreadable.
        plain = self.serializer.name != "pickle" or _is_plain(value)
        # It may stand in causes of causes, and in groups of groups.
        return value if plain and self.encodes(value, within=2 * MAX_DEPTH) else safe_repr(value)

    def _dumps(self, document: Any) -> bytes:
        if self.own_classes is not None:
            document = self.own_classes.plain(document)
        return self.serializer.dumps(document, strict=self.strict)

    def _checked(self, document: object) -> None:
        self._check_values("value", self._dumps(document))

    def _check_values(self, path: str, data: bytes) -> None:
        if limits.holds_more(self.serializer.name, data, self._max_values):
            raise EncodeError(
                self.serializer.name,
                path,
                f"it holds more than {self._max_values} values, which readers refuse: raise the "
                "option max_values= here and where it is read, or store it in parts",
            )

    def _refusal(self, document: object, error: BaseException) -> EncodeError:
        return refusal(self.serializer.name, document, error, self._dumps)


def _envelope(data: bytes) -> bytes | None:
    return data if data.startswith(envelope.MAGIC) else None


def _is_plain(value: object) -> bool:
    try:
        jsontags.to_plain(value, strict=True)
    except BaseException as error:  # noqa: BLE001 - any exception is an answer
        pass_on(error)
        return False
    return True
