"""
The bytes that come over a socket, cut into lines and blocks.
"""

from __future__ import annotations

from typing import Final, Protocol

from pymemcache.exceptions import MemcacheUnexpectedCloseError

from .errors import error_in

#: The bytes to receive at a time.
_RECEIVED: Final = 65_536
#: The limit for a line, in bytes.
_LONGEST_LINE: Final = 2_048


class Source(Protocol):
    """A socket."""

    def recv(self, size: int, /) -> bytes: ...


class Replies:
    """
    The replies to one command after the other. All of them are read to their end.

    Raises `MemcacheUnexpectedCloseError` if they end in the middle, and `MemcacheUnknownError` for bytes
    that make no reply.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data = b""
        self._at = 0

    def line(self) -> bytes:
        """Return the next line, without its end."""
        while (end := self._data.find(b"\r\n", self._at)) < 0:
            if len(self._data) - self._at > _LONGEST_LINE:
                raise error_in(self._data[self._at :])
            self._receive(1)
        line = self._data[self._at : end]
        self._at = end + 2
        return line

    def block(self, size: int) -> bytes:
        """Return the next *size* bytes, and skip the end of the line after them."""
        missing = self._at + size + 2 - len(self._data)
        if missing > 0:
            self._receive(missing)
        end = self._at + size
        if self._data[end : end + 2] != b"\r\n":
            raise error_in(self._data[end : end + 2])
        block = self._data[self._at : end]
        self._at = end + 2
        return block

    def _receive(self, missing: int) -> None:
        """Receive at least *missing* bytes."""
        # Joined at the end: to append each part to a large block would copy the block each time.
        parts = [self._data[self._at :]]
        while missing > 0:
            part = self._source.recv(_RECEIVED)
            if not part:
                raise MemcacheUnexpectedCloseError
            parts.append(part)
            missing -= len(part)
        self._data, self._at = b"".join(parts), 0

    def end(self) -> bool:
        """Begin anew. Return `False` if bytes were left, which would answer the next command."""
        clean = self._at == len(self._data)
        self._data, self._at = b"", 0
        return clean
