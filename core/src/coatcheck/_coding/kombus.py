"""
kombu's serializers and types, as an application registered them in this process.

Only a kombu that is already imported is asked; nothing here imports it. The application's
registrations are its own code and no stored record chooses among them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from .._runtime.stacks import with_room
from ..errors import ConfigurationError, PluginError
from . import jsontags
from .serializers import BUILTINS, JSONSerializer, Serializer

_KNOWN: Final[dict[str, Serializer]] = {serializer.name: serializer for serializer in BUILTINS}
#: The content types of those. `accept_content` may name them too.
_CONTENT_TYPES: Final = {
    "json": "application/json",
    "msgpack": "application/x-msgpack",
    "pickle": "application/x-python-serialize",
}
#: The first bytes that no text has: those of a pickle, and of most of msgpack's maps.
_NO_TEXT: Final = range(0x80, 0xC0)


_KOMBUS_TAG: Final = frozenset({jsontags.TYPE, jsontags.VALUE})
_OUR_TAG: Final = _KOMBUS_TAG | {jsontags.OURS}
#: The modules of the types that kombu itself registers.
_STOCK_MODULES: Final = ("datetime", "decimal", "uuid")


def _registry() -> Any:
    return getattr(sys.modules.get("kombu.serialization"), "registry", None)


def _types() -> Any:
    return sys.modules.get("kombu.utils.json")


def registered(name: str) -> Serializer | None:
    """
    Return the serializer that kombu has in this process under *name*.

    `None` if kombu is not imported, knows no such name, or would do the same as coatcheck's own
    serializer of that name.
    """
    registry, known = _registry(), _KNOWN.get(name)
    if registry is None or name not in registry._encoders:  # noqa: SLF001 - as Celery
        return None
    if known is None or _is_replaced(name, registry):
        return KombuSerializer(name)
    return RegisteredTypes() if name == "json" else None


def _is_replaced(name: str, registry: Any) -> bool:
    """
    Whether an application put functions of its own in place of the built-in serializer *name*.
    """
    content_type, _, encode = registry._encoders[name]  # noqa: SLF001
    decode = registry._decoders.get(content_type)  # noqa: SLF001
    return not all(_is_kombus(function) for function in (encode, decode))


def _is_kombus(function: object) -> bool:
    # msgpack's are functions of that package, or of kombu's that call them.
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] in ("kombu", "msgpack")


def accepted(names: Iterable[str]) -> Iterator[str]:
    """
    Iterate over the names of the serializers that *names*, of names and content types, allow.

    A content type allows every name registered for it. Unknown names are passed through.
    """
    registry = _registry()
    types = dict(_CONTENT_TYPES)
    if registry is not None:
        types |= registry.name_to_type
    given = dict.fromkeys(names)
    # A name stands for its content type, as in Celery.
    kinds = {types.get(name, name) for name in given}
    for name in dict.fromkeys([*types, *given]):
        if types.get(name, name) in kinds:
            yield name


class KombuSerializer:
    """
    Reads and writes by kombu's serializer *name*, as Celery does, with the registered types.

    Raises `ConfigurationError` for a name that kombu does not know.
    """

    def __init__(self, name: str) -> None:
        registry = _registry()
        if registry is None or name not in registry._encoders:  # noqa: SLF001 - as Celery
            raise ConfigurationError(
                f"unknown serializer {name!r}: kombu has none of that name; import the module "
                "that registers it first"
            )
        self.name = name
        self._registry = registry
        self._known = _KNOWN.get(name)
        #: Sent with messages.
        self.content_type: str
        self.content_type, self._encoding, _ = registry._encoders[name]  # noqa: SLF001
        self.text: bool = self._encoding == "utf-8"

    def dumps(self, document: dict[str, Any], *, strict: bool) -> bytes:
        return self.dumps_value(document, strict=strict)

    def dumps_value(self, value: object, *, strict: bool) -> bytes:
        _, _, data = self._registry.dumps(value, serializer=self.name)
        return data.encode() if isinstance(data, str) else data

    def loads(self, data: bytes) -> tuple[object, bool]:
        if self.name == "json" and self._reads_as_kombu():
            # Tags are read with the value: one that cannot be does not hide the state.
            return _KNOWN["json"].loads(data)
        accept = [self.content_type]
        return self._registry.loads(data, self.content_type, self._encoding, accept=accept), False

    def _reads_as_kombu(self) -> bool:
        return _is_kombus(self._registry._decoders.get(self.content_type))  # noqa: SLF001

    def revive(self, value: object) -> object:
        return with_room(revive, value)

    def recognises(self, head: bytes) -> bool:
        if self._known is not None:
            return self._known.recognises(head)
        if self.name == "yaml":  # its records never start like JSON
            return False
        # Records of an application's own serializer bear no mark and often look like JSON. Celery
        # reads every record by the configured serializer, and so does this reader.
        return not (self.text and head and head[0] in _NO_TEXT)

    def peek(self, head: bytes) -> str | None:
        return None if self._known is None else self._known.peek(head)


class Unregistered:
    """
    Stands for the serializer *name*, which this process lacks: states can be read, values raise.
    """

    text = True

    def __init__(self, name: str) -> None:
        self.name = name

    def dumps(self, document: dict[str, Any], *, strict: bool) -> bytes:
        raise self._missing()

    def dumps_value(self, value: object, *, strict: bool) -> bytes:
        raise self._missing()

    def loads(self, data: bytes) -> tuple[object, bool]:
        raise self._missing()

    def revive(self, value: object) -> object:
        return value

    def recognises(self, head: bytes) -> bool:
        return not (head and head[0] in _NO_TEXT)

    def peek(self, head: bytes) -> str | None:
        return None

    def _missing(self) -> PluginError:
        return PluginError(
            f"no serializer {self.name!r} is registered in this process: import the application "
            "that registers it before its configuration is read, or name another in serializer="
        )


class RegisteredTypes(JSONSerializer):
    """
    coatcheck's JSON, and the types that the application registered by kombu's `register_type`.
    """

    def dumps(self, document: dict[str, Any], *, strict: bool) -> bytes:
        plain = {key: _to_plain(value, strict=strict) for key, value in document.items()}
        return self._text.encode(plain)

    def dumps_value(self, value: object, *, strict: bool) -> bytes:
        return self._text.encode(_to_plain(value, strict=strict))

    def revive(self, value: object) -> object:
        return with_room(revive, value)


def _to_plain(value: Any, *, strict: bool, room: int = jsontags.MAX_DEPTH) -> Any:
    """Do the same as `jsontags.to_plain`, with registered types."""
    kind = type(value)
    own = None
    if kind in jsontags.PLAIN:
        return value
    if kind is dict:
        if jsontags.TYPE in value or not all(type(key) is str for key in value):
            return jsontags.dict_to_plain(value, _to_plain, strict=strict, room=room)
    elif not (kind is list or (isinstance(value, tuple) and not strict)):
        own = _registered_type(value)
        if own is None:
            return jsontags.tagged(value, _to_plain, strict=strict, room=room)
    if not room:
        raise jsontags.TooDeepError
    room -= 1
    if kind is dict:
        return {key: _to_plain(item, strict=strict, room=room) for key, item in value.items()}
    if own is None:
        return [_to_plain(item, strict=strict, room=room) for item in value]
    name, content = own
    plain = _to_plain(content, strict=strict, room=room)
    return plain if name is None else {jsontags.TYPE: name, jsontags.VALUE: plain}


def _registered_type(value: object) -> tuple[str | None, object] | None:
    """
    Return the tag's name and content for a *value* of a registered type, `None` for other types.

    The name is `None` if the content is stored without a tag.
    """
    for kind, (name, encode) in getattr(_types(), "_encoders", {}).items():
        if isinstance(value, kind) and not _is_stock(kind, name, encode):
            return name, encode(value)
    return None


def revive(value: object) -> object:
    """
    Return *value* with tags read: kombu's by the registered decoders, ours by our own.

    As in `jsontags.revive` an unknown tag stays a plain dict.
    """
    kombus: Mapping[str, Any] | None = getattr(_types(), "_decoders", None)
    if kombus is None:
        return jsontags.revive(value)

    def decoder(tag: dict[str, Any]) -> Any:
        name = tag[jsontags.TYPE]
        if tag.keys() == _KOMBUS_TAG and isinstance(name, str):
            return kombus.get(name)
        return jsontags.decoder(tag) if tag.keys() == _OUR_TAG else None

    return jsontags.revive(value, decoder)


def _is_stock(kind: type, marker: str | None, encode: Any) -> bool:
    """Whether kombu itself registered *kind*; coatcheck then writes the same tag."""
    if kind.__name__.lower() != marker or kind.__module__ not in _STOCK_MODULES:
        return False
    return encode in (str, datetime.isoformat) or encode.__module__ == "kombu.utils.json"
