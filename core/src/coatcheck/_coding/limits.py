"""
Limits for the content of a record, checked before it is decoded.

A value takes up to 150 bytes of memory, however short it is written, and no other thread runs
while the decoders in C make many of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, TypeVar

T = TypeVar("T")

#: How many values a record may hold by default: items of lists, and values of mappings.
MAX_VALUES: Final = 2**20
#: How many bytes are looked at before other threads may run.
_SLICE: Final = 2**20
_MARKS: Final = b",[{"
#: A short string of JSON, and as much of a document as is looked at before other threads may run.
_TEXT: Final = rb'"[^"\\]{0,200}+(?:\\.[^"\\]{0,200}+){0,9}+"'
_STRING: Final = re.compile(_TEXT, re.DOTALL)
_RUN: Final = re.compile(rb'(?:[^"]++|' + _TEXT + rb"){1,10000}+", re.DOTALL)
_BACKSLASH: Final = ord("\\")
#: The types whose hashes nobody can choose: they are secret, or there are few.
_UNCHOSEN: Final = frozenset({str, bytes, bool, type(None)})
#: So many may have the same hash.
FEW: Final = 32


def holds_more(serializer: str, data: bytes, limit: int) -> bool:
    """
    Return whether *data* of a builtin *serializer* holds more than *limit* values.

    Return `False` for other serializers, and for pickle: it may run any code anyway.
    """
    counted = _COUNTED.get(serializer)
    return counted is not None and counted(data, limit)


def _json_holds_more(data: bytes, limit: int) -> bool:
    # A value and its separator take at least two bytes.
    if len(data) <= 2 * limit or sum(_marks(data)) <= limit:
        return False
    # Some of these may stand in text.
    found = at = 0
    while at < len(data) and found <= limit:
        run = _RUN.match(data, at)
        if run is None:
            at = _string_end(data, at)
        else:
            found += sum(_marks(_STRING.sub(b"", run[0])))
            at = run.end()
    return found > limit


def _string_end(data: bytes, start: int) -> int:
    """
    Return where the string ends that starts at *start*; without an end it goes on to the last byte.
    """
    end = data.find(b'"', start + 1)
    while end > 0:
        before = end - 1
        while data[before] == _BACKSLASH:
            before -= 1
        if (end - before) % 2:  # a backslash may be escaped itself
            return end + 1
        end = data.find(b'"', end + 1)
    return len(data)


def _marks(data: bytes) -> Iterator[int]:
    """
    Count, slice by slice, the marks that precede each value of a list or mapping. A slice without marks
    counts as one more value.
    """
    for at in range(0, len(data), _SLICE):
        part = data[at : at + _SLICE]
        yield len(part) - len(part.translate(None, _MARKS))


#: How many bytes a msgpack value takes, by its first byte; 0 if that does not say it.
_SIZES: Final = bytes(
    {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2,
     0xD1: 3, 0xD2: 5, 0xD3: 9, 0xD4: 3, 0xD5: 4, 0xD6: 6, 0xD7: 10, 0xD8: 18}.get(
        first, first - 0x9F if 0xA0 <= first <= 0xBF else int(first < 0x80 or first >= 0xE0)
    )
    for first in range(256)
)  # fmt: skip
#: For types with a length: the number of bytes of the length, and of all bytes before the content.
_LENGTHS: Final = {
    0xC4: (1, 2), 0xC5: (2, 3), 0xC6: (4, 5), 0xD9: (1, 2), 0xDA: (2, 3), 0xDB: (4, 5),
    0xC7: (1, 3), 0xC8: (2, 4), 0xC9: (4, 6),
}  # fmt: skip
#: How many bytes say how much is in it: arrays, and mappings.
_ARRAYS: Final = {0xDC: 2, 0xDD: 4}
_MAPS: Final = {0xDE: 2, 0xDF: 4}


def _msgpack_holds_more(data: bytes, limit: int) -> bool:
    """Count the values that arrays and mappings announce: the decoder allocates memory for them."""
    if len(data) <= limit:
        return False
    at = found = 0
    left = 1
    try:
        while left:
            left -= 1
            first = data[at]
            size = _SIZES[first]
            if size:
                at += size
                continue
            items, keyed, size = _parts(data, at, first)
            at += size
            if first in _LENGTHS:  # text or bytes
                continue
            found += items or 1  # an empty one takes its room, as in JSON
            if found > limit:
                return True
            left += 2 * items if keyed else items
    except (IndexError, KeyError):  # cut off, or no msgpack: the decoder says so
        pass
    return False


def _parts(data: bytes, at: int, first: int) -> tuple[int, bool, int]:
    """
    Return how many items the value at *at* has, whether they have keys, and the size of its own.
    """
    if first < 0xA0:
        return first & 0x0F, first < 0x90, 1
    width = _ARRAYS.get(first) or _MAPS.get(first)
    if width:
        items = int.from_bytes(data[at + 1 : at + 1 + width], "big")
        return items, first in _MAPS, 1 + width
    width, head = _LENGTHS[first]
    return 0, False, head + int.from_bytes(data[at + 1 : at + 1 + width], "big")


_COUNTED: Final[Mapping[str, Callable[[bytes, int], bool]]] = {
    "json": _json_holds_more,
    "msgpack": _msgpack_holds_more,
}


def hashable(items: Collection[T]) -> Collection[T]:
    """
    Return *items*, the future members of a set or keys of a dict.

    Raises `ValueError` if too many of them have the same hash, as multiples of 2**61 - 1 do. Building the set
    would take a time that grows with the square of their number.
    """
    if len(items) <= FEW or _UNCHOSEN.issuperset(map(type, items)):
        return items
    if len(items) - len(set(map(hash, items))) > FEW:
        alike = Counter(map(hash, items)).values()
        if sum(number * number for number in alike) > FEW * len(items):
            raise ValueError("too many of its keys or members have the same hash")
    return items
