"""
The envelope of records that are compressed, signed or encrypted: its parts, as bytes.

::

    C1 "COAT"                 the magic
    version                   1 byte: 1
    state                     1 byte for the length, UTF-8
    task id                   4 bytes for the length, UTF-8
    serializer, compression,  1 byte for the length of each, UTF-8
    seal, key
    body                      sealed as the fields above say

The state has this place in every version, so that a store can look at it. Everything before the body is
authenticated with it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: No plain record of any serializer starts with it (0xC1 is the one byte that msgpack never uses).
MAGIC: Final = b"\xc1COAT"
VERSION: Final = 1
#: In place of the state where a group is kept, whose tasks have states; no state is lower-case.
GROUP: Final = "group"

_STATE_AT: Final = len(MAGIC) + 1
_LONGEST_NAME: Final = 255


class Envelope(NamedTuple):
    """An envelope taken apart. `head` is all that precedes the body."""

    state: str
    task_id: str
    serializer: str
    compression: str
    seal: str
    key: str
    head: bytes
    body: bytes


def head_of(
    state: str, task_id: str, *, serializer: str, compression: str, seal: str, key: str
) -> bytes:
    """Return the part before the body. Raises `ValueError` for a name of more than 255 bytes."""
    names = [_name(text) for text in (serializer, compression, seal, key)]
    id_ = task_id.encode()
    parts = [MAGIC, bytes([VERSION]), _name(state), len(id_).to_bytes(4, "big"), id_, *names]
    return b"".join(parts)


def _name(text: str) -> bytes:
    data = text.encode()
    if len(data) > _LONGEST_NAME:
        raise ValueError(f"an envelope has no room for the name {text[:40]!r}...")
    return bytes([len(data)]) + data


def parse(data: bytes) -> Envelope:
    """Return the parts of *data*. Raises `ValueError` where they are not all there, or newer."""
    version = data[len(MAGIC)] if len(data) > len(MAGIC) else None
    if version != VERSION:
        raise ValueError(
            "its envelope is cut off"
            if version is None
            else f"its envelope has version {version}, this coatcheck opens {VERSION}: upgrade it"
        )
    fields = []
    at = _STATE_AT
    for width in (1, 4, 1, 1, 1, 1):
        start = at + width
        at = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or at > len(data):
            raise ValueError("its envelope is cut off")
        fields.append(data[start:at].decode())
    state, task_id, serializer, compression, seal, key = fields
    return Envelope(state, task_id, serializer, compression, seal, key, data[:at], data[at:])


def peek(data: bytes) -> str | None:
    """Return the state from the first bytes of an envelope, even if the rest is damaged."""
    if len(data) <= _STATE_AT or not data.startswith(MAGIC):
        return None
    start = _STATE_AT + 1
    state = data[start : start + data[_STATE_AT]]
    if len(state) < data[_STATE_AT]:
        return None
    return state.decode("utf-8", "replace")
