"""
JSON as bytes, by orjson where it is installed, or else by the standard library.

Both write what the other reads. The standard library does what orjson refuses or would change: NaN and infinities,
integers over 64 bits, lone surrogates, tags, and deep values. orjson 3.12 and 3.13 write past the end of their
memory if some 64 lists end at one place; `is_json` allows 32 levels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from json.scanner import make_scanner
from typing import Any, Final, cast

from .._runtime.interruptions import pass_on_interruption
from .._runtime.stacks import in_thread, with_room
from .jsontags import is_json

#: Every digit as 0, any other byte as 1, to search for numbers of so many digits.
_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x31 for byte in range(256))
_LONG: Final = b"0" * 19
#: With fewer items or letters the standard library is as fast as the search for what orjson changes.
_MANY_ITEMS: Final = 16
_LONG_TEXT: Final = 500
_CONTAINERS: Final = frozenset({dict, list, tuple})
#: Plain types other than float.
_NO_FLOATS: Final = frozenset({str, int, bool, type(None)})
#: The head of a record as orjson writes it, and as Celery does. Readers know the latter at a glance.
_HEAD: Final = b'{"status":"'
_CELERYS: Final = b'{"status": "'


def _encoder() -> Callable[[object], str]:
    """
    Return `JSONEncoder.encode`, with one C encoder for all calls.

    The method makes a new one for each call: a document takes 1.4 to 1.6 times as long.
    """
    # Values that contain themselves were refused before, as too deep.
    own = json.JSONEncoder(check_circular=False)
    make: Any = vars(json.encoder)["c_make_encoder"]
    if make is None:
        return own.encode
    text = json.encoder.encode_basestring_ascii
    chunks = make(None, own.default, text, None, ": ", ", ", False, False, True)  # noqa: FBT003
    return lambda value: "".join(chunks(value, 0))


class StandardText:
    """JSON by the standard library, in ASCII: columns of text may not keep every letter."""

    _encode = staticmethod(_encoder())
    # `json.loads` without its search for white space and for other encodings.
    _decode = make_scanner(cast("make_scanner", json.JSONDecoder()))

    def encode(self, value: object) -> bytes:
        """Return the bytes of *value*, which is plain data."""
        return self._encode(value).encode("ascii")

    def encode_as_is(self, value: object, *, strict: bool) -> bytes | None:
        """
        Return the bytes of *value* if it needs no tags and this is the fastest way, else `None`.

        Under *strict* a tuple needs a tag.
        """
        del value, strict
        return None

    def decode(self, data: bytes) -> object:
        """Return the value of *data*. Raises `ValueError` for damaged data."""
        text = data.decode()
        try:
            value, end = self._decode(text, 0)
        except (ValueError, StopIteration):
            end = -1
        except RecursionError as error:
            value, end = in_thread(partial(self._decode, text), 0, error)
        if end != len(text):
            return with_room(json.loads, text)  # white space, or damage: this raises
        return value


class FastText(StandardText):
    """JSON by the module *orjson*, which writes UTF-8. It gets no value that it would change."""

    def __init__(self, orjson: Any) -> None:
        self._dumps: Callable[[object], bytes] = orjson.dumps
        self._loads: Callable[[bytes], object] = orjson.loads

    def encode_as_is(self, value: object, *, strict: bool) -> bytes | None:
        if not (_holds_much([value]) and is_json(value, strict=strict, finite=True)):
            return None
        try:
            data = self._dumps(value)
        except TypeError as error:  # a long integer, or a lone surrogate
            pass_on_interruption(error)
            return None
        return _CELERYS + data[len(_HEAD) :] if data.startswith(_HEAD) else data

    def decode(self, data: bytes) -> object:
        if len(data) < _LONG_TEXT:
            return super().decode(data)
        try:
            value = self._loads(data)
        except ValueError as error:
            pass_on_interruption(error)
            return super().decode(data)
        # It makes floats of long integers.
        if _may_hold_floats(value) and _LONG in data.translate(_DIGITS):
            return super().decode(data)
        return value


def best_text() -> StandardText:
    """Return the fastest engine that is installed."""
    try:
        import orjson  # noqa: PLC0415 - optional, and only for those who read or write
    except (ImportError, OSError) as error:  # not installed, or no free descriptor
        pass_on_interruption(error)
        return StandardText()
    return FastText(orjson)


def _holds_much(value: Any, levels: int = 3) -> bool:
    """Whether some of the first levels of *value* have a long text or many items."""
    for item in value.values() if type(value) is dict else value:
        kind = type(item)
        if kind is str:
            if len(item) >= _LONG_TEXT:
                return True
        elif (
            kind in _CONTAINERS
            and item
            and (len(item) >= _MANY_ITEMS or (levels and _holds_much(item, levels - 1)))
        ):
            return True
    return False


def _may_hold_floats(value: Any) -> bool:
    """Whether there may be a float in *value*, a record or a part of one."""
    items = [item for item in value.values() if item] if type(value) is dict else [value]
    return not _NO_FLOATS.issuperset(map(type, items))
