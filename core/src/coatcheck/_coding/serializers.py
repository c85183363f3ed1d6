"""
Documents as bytes: JSON, msgpack, pickle, and the serializers of plugins.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

from .. import states
from .._runtime import entrypoints
from .._runtime.stacks import with_room
from ..errors import ConfigurationError, PluginError
from . import jsontags, limits
from .jsontext import StandardText, best_text

if TYPE_CHECKING:
    from collections.abc import Callable

#: The entry point group for serializers.
GROUP: Final = "coatcheck.serializers"
#: The state in YAML as Celery writes it: keys in the order of the alphabet, each on a line of its
#: own, and the parts of a value indented. So the state follows the value.
_YAML: Final = re.compile(rb"^status: ([A-Z][A-Z_]*)\r?$", re.MULTILINE)
#: How many bytes from the end are searched for it.
_YAML_TAIL: Final = 2**20


def peek_yaml(data: bytes) -> str | None:
    """
    Return the state of the record *data* if it is YAML as Celery writes it; else `None`.

    YAML is not read here. The state alone ends waits for a value that nobody can read.
    """
    found = _YAML.search(data, max(len(data) - _YAML_TAIL, 0))
    return found[1].decode() if found else None


class Serializer(Protocol):
    """
    Turns plain documents into bytes and back.

    Any exception that `dumps` or `loads` raises means that the value or the bytes are at fault.
    """

    name: str
    #: Whether its bytes are UTF-8 text, which stores of fields keep as text.
    text: bool

    def dumps(self, document: dict[str, Any], *, strict: bool) -> bytes:
        """Return the bytes of *document*, `status` first. Under *strict* no type may change."""

    def dumps_value(self, value: object, *, strict: bool) -> bytes:
        """Return the bytes of a value alone, for stores that keep a record's fields apart."""

    def loads(self, data: bytes) -> tuple[object, bool]:
        """Return the document or value, and whether its values have to go through `revive`."""

    def revive(self, value: object) -> object:
        """Return *value* with tags read. May raise any exception."""

    def recognises(self, head: bytes) -> bool:
        """Whether bytes that start with *head* may be this serializer's."""

    def peek(self, head: bytes) -> str | None:
        """Return the state if *head*, the first bytes, shows it as the first key; else `None`."""


class JSONSerializer:
    """JSON, with kombu's tags and ours for other types; the default."""

    name = "json"
    text = True
    _HEADS: Final = {f'{{"status": "{state}'.encode(): state for state in states.NAMED_STATES}
    _SKIP = len('{"status": "')
    _PEEK = re.compile(rb'\s*\{\s*"status"\s*:\s*"([^"\\]*)"')

    @cached_property
    def _text(self) -> StandardText:
        return best_text()  # not before it is needed: an import takes time

    def dumps(self, document: dict[str, Any], *, strict: bool) -> bytes:
        data = self._text.encode_as_is(document, strict=strict)
        if data is not None:
            return data
        # Each value by itself: an unknown key of a foreign record must not make a tag of it all.
        plain = {
            key: value if type(value) in jsontags.PLAIN else jsontags.to_plain(value, strict=strict)
            for key, value in document.items()
        }
        return self._text.encode(plain)

    def dumps_value(self, value: object, *, strict: bool) -> bytes:
        data = self._text.encode_as_is(value, strict=strict)
        # Columns of text may not keep every letter.
        if data is not None and data.isascii():
            return data
        return self._text.encode(jsontags.to_plain(value, strict=strict))

    def loads(self, data: bytes) -> tuple[object, bool]:
        return self._text.decode(data), b'"__type__"' in data

    def revive(self, value: object) -> object:
        return with_room(jsontags.revive, value)

    def recognises(self, head: bytes) -> bool:
        return head.startswith(b"{") or head.lstrip(b" \t\r\n").startswith(b"{")

    def peek(self, head: bytes) -> str | None:
        # Nearly all records start like this, and a lookup is faster than a match.
        end = head.find(b'"', self._SKIP)
        common = self._HEADS.get(head[:end]) if end > 0 else None
        return common or _text(self._PEEK.match(head))


class MsgpackSerializer:
    """msgpack as Celery writes it: without tags, so only msgpack's own types."""

    name = "msgpack"
    text = False
    _KEPT = frozenset({type(None), bool, int, float, str, bytes})
    _TEXT = frozenset({str})
    _PEEK = re.compile(
        rb"(?:[\x81-\x8f]|\xde..|\xdf....)\xa6status(?:([\xa0-\xbf])|\xd9(.))(.*)", re.DOTALL
    )

    def dumps(self, document: dict[str, Any], *, strict: bool) -> bytes:
        return self.dumps_value(document, strict=strict)

    def dumps_value(self, value: object, *, strict: bool) -> bytes:
        self._check(value, strict=strict, room=jsontags.MAX_DEPTH)
        packed: bytes = _msgpack().packb(value, use_bin_type=True)
        return packed

    def _check(self, value: Any, *, strict: bool, room: int) -> None:
        kind = type(value)
        if kind in self._KEPT:
            return
        if kind is dict:
            if not self._TEXT.issuperset(map(type, value)):
                raise TypeError("msgpack documents have text keys only")
            items = value.values()
        elif kind is list or (isinstance(value, tuple) and not strict):
            items = value
        else:
            raise TypeError(f"msgpack has no {kind.__qualname__}; {jsontags.way_out(kind)}")
        if not room:
            raise jsontags.TooDeepError
        if not self._KEPT.issuperset(map(type, items)):
            for item in items:
                if type(item) not in self._KEPT:
                    self._check(item, strict=strict, room=room - 1)

    def loads(self, data: bytes) -> tuple[object, bool]:
        unpackb = _msgpack().unpackb
        try:
            return unpackb(data, raw=False, strict_map_key=True), False
        except ValueError:
            # Hashes of keys other than text can be chosen: check them.
            return unpackb(
                data, raw=False, strict_map_key=False, object_pairs_hook=_with_any_keys
            ), False

    def revive(self, value: object) -> object:
        return value

    def recognises(self, head: bytes) -> bool:
        return bool(head) and (0x81 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF))

    def peek(self, head: bytes) -> str | None:
        match = self._PEEK.match(head)
        if match is None:
            return None
        fixed, size, rest = match.groups()
        length = fixed[0] - 0xA0 if fixed else size[0]
        return rest[:length].decode("utf-8", "replace") if len(rest) >= length else None


class PickleSerializer:
    """
    Pickle: keeps every type, and runs any code that the bytes name. Read only if the reader accepts it.
    """

    name = "pickle"
    text = False
    PROTOCOL = 4  # kombu's
    _MEMO = rb"(?:\x94|q.)?"
    _PEEK = re.compile(
        rb"\x80[\x02-\x05](?:\x95.{8})?\}"
        + _MEMO
        + rb"\((?:\x8c\x06|X\x06\x00\x00\x00)status"
        + _MEMO
        + rb"(?:\x8c(.)|X(.)\x00\x00\x00)(.*)",
        re.DOTALL,
    )

    def dumps(self, document: object, *, strict: bool) -> bytes:
        import pickle  # noqa: PLC0415 - only where somebody chose it

        return pickle.dumps(document, self.PROTOCOL)

    def dumps_value(self, value: object, *, strict: bool) -> bytes:
        return self.dumps(value, strict=strict)

    def loads(self, data: bytes) -> tuple[object, bool]:
        from . import pickles  # noqa: PLC0415 - after the codec checked the accept list

        return pickles.loads(data)

    def revive(self, value: object) -> object:
        from . import pickles  # noqa: PLC0415

        return pickles.checked(value)

    def recognises(self, head: bytes) -> bool:
        return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")

    def peek(self, head: bytes) -> str | None:
        match = self._PEEK.match(head)
        if match is None:
            return None
        short, long, rest = match.groups()
        length = (short or long)[0]
        return rest[:length].decode("utf-8", "replace") if len(rest) >= length else None


def _with_any_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    limits.hashable([key for key, _ in pairs])
    return dict(pairs)


def _text(match: re.Match[bytes] | None) -> str | None:
    return None if match is None else match[1].decode("utf-8", "replace")


def _msgpack() -> Any:
    try:
        import msgpack  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415
    except ImportError as error:
        raise PluginError(
            "the serializer 'msgpack' needs the package msgpack: pip install 'coatcheck[msgpack]'"
        ) from error
    return msgpack


#: Readers try them in this order.
_BUILTIN: Final[dict[str, Callable[[], Serializer]]] = {
    "json": JSONSerializer,
    "msgpack": MsgpackSerializer,
    "pickle": PickleSerializer,
}
BUILTINS: Final[tuple[Serializer, ...]] = tuple(make() for make in _BUILTIN.values())


def check_installed(serializer: Serializer) -> None:
    """Raise `PluginError` if the package that a built-in *serializer* needs is missing."""
    if isinstance(serializer, MsgpackSerializer):
        _msgpack()


def get_serializer(name: str | Serializer) -> Serializer:
    """Return the serializer called *name*: a built-in one, or a plugin's by its entry point."""
    if not isinstance(name, str):
        return name
    for serializer in BUILTINS:
        if serializer.name == name:
            return serializer
    found = entrypoints.named(GROUP, name)
    if not found:
        known = sorted({*_BUILTIN, *(entry.name for entry in entrypoints.all_of(GROUP))})
        raise ConfigurationError(f"unknown serializer {name!r}: use one of {', '.join(known)}")
    if len(found) > 1:
        claims = " and by ".join(sorted(map(entrypoints.owner, found)))
        raise ConfigurationError(
            f"the serializer {name!r} is claimed by {claims}: uninstall all but one"
        )
    made: Serializer = entrypoints.load(found[0])()
    return made
