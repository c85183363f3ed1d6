"""
Celery's serializers, which are kombu's, as serializers of coatcheck.
"""

from __future__ import annotations

from typing import Any, Final

from kombu.serialization import dumps, loads, registry
from kombu.utils.json import object_hook

from coatcheck import jsontags
from coatcheck.serializers import BUILTINS, Serializer

#: Those that coatcheck knows by their first bytes.
_KNOWN: Final[dict[str, Serializer]] = {serializer.name: serializer for serializer in BUILTINS}
#: The keys of a tag of kombu's.
_TAG: Final = frozenset({jsontags.TYPE, jsontags.VALUE})


class KombuSerializer:
    """
    Writes what Celery writes with the serializer *name*, types that were registered with kombu
    included, and reads it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._content_type, self._encoding, _ = registry._encoders[name]  # noqa: SLF001 - as Celery
        self._known = _KNOWN.get(name)
        self.text = self._encoding == "utf-8"

    def dumps(self, document: dict[str, Any], *, strict: bool) -> bytes:
        return self.dumps_value(document, strict=strict)

    def dumps_value(self, value: Any, *, strict: bool) -> bytes:
        _, _, data = dumps(value, serializer=self.name)
        return data.encode() if isinstance(data, str) else data

    def loads(self, data: bytes) -> tuple[Any, bool]:
        if self.name == "json":
            # Tags are read with the value: one that cannot be does not hide the state.
            return _KNOWN["json"].loads(data)
        accept = [self._content_type]
        return loads(data, self._content_type, self._encoding, accept=accept), False

    def revive(self, value: Any) -> Any:
        return _registered(jsontags.revive(value)) if self.name == "json" else value

    def recognises(self, head: bytes) -> bool:
        return self._known is not None and self._known.recognises(head)

    def peek(self, head: bytes) -> str | None:
        return None if self._known is None else self._known.peek(head)


def _registered(value: Any) -> Any:
    """
    Return *value* with the tags of types that the application registered with kombu read.
    """
    kind = type(value)
    if kind is list:
        return [_registered(item) for item in value]
    if kind is not dict:
        return value
    read = {key: _registered(item) for key, item in value.items()}
    if read.keys() != _TAG:
        return read
    try:
        return object_hook(read)
    except ValueError:  # of a type that nobody registered
        return read


def names_of(accept: Any) -> list[str]:
    """
    Return the names of the serializers that Celery's `accept_content` lists.
    """
    names = (registry.type_to_name.get(item, item) for item in accept)
    return [name for name in names if isinstance(name, str)]
