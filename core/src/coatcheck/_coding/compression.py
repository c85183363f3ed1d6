"""
Compression: our own of two kinds, and Celery's compressed records, with the marker that they bear.
All is opened within bounds.

The marker and the content types are Celery's (5.7, `result_compression`): a NUL, a word, a NUL,
the content type, a NUL, the body. "gzip" bodies are zlib streams.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from .._runtime.interruptions import pass_on_interruption

MARKER: Final = b"\x00celery-compressed\x00"
#: Of the kinds that Celery knows the one that all of its readers have.
_CELERYS: Final = "application/x-gzip"
#: The kinds that an envelope can be of, each with Celery's name.
OURS: Final = {"zlib": _CELERYS, "zstd": "application/zstd"}
#: How many bytes a record may have by default once it is inflated, and how many times as many as
#: it is stored with, if that is more.
MAX_INFLATED: Final = 16 * 1024 * 1024
MAX_RATIO: Final = 32
#: Twice the need of the highest preset: the header may ask for gigabytes.
_LZMA_MEMORY: Final = 128 * 1024 * 1024


class TooLargeError(ValueError):
    """The body is longer than the reader allows."""


def allowed(stored: int, max_inflated: int) -> int:
    """Return how many bytes may come out of as many as are *stored*."""
    return max(max_inflated, MAX_RATIO * stored)


def inflate(data: bytes, limit: int) -> bytes:
    """
    Return the body of *data*, which starts with the marker; at most *limit* bytes.

    Raises `ValueError` if it cannot.
    """
    return _whole(*_opened(data, limit + 1), limit)


def _whole(stream: Any, inflated: bytes, limit: int) -> bytes:
    if len(inflated) > limit:
        raise TooLargeError(
            f"it inflates to more than {limit} bytes: if you trust its writer, raise "
            "the option max_inflated="
        )
    if not stream.eof:
        raise ValueError("the compressed body is cut off")
    return inflated


def marked(body: bytes) -> bytes:
    """Return *body* as Celery compresses it."""
    return MARKER + _CELERYS.encode() + b"\x00" + compressed("zlib", body)


def compressed(name: str, body: bytes) -> bytes:
    """
    Return *body* compressed by *name*, one of `OURS`. Raises `ValueError` if a package is missing.
    """
    if name == "zlib":
        packed: bytes = import_module("zlib").compress(body)
    else:
        packed = _zstd().compress(body)
    return packed


def decompressed(name: str, data: bytes, limit: int) -> bytes:
    """
    Return the original of *data* from `compressed`, at most *limit* bytes. Raises `ValueError` for other data.
    """
    return _whole(*_read(OURS.get(name, name), data, limit + 1), limit)


def head(data: bytes, size: int) -> bytes:
    """
    Return about the first *size* bytes of the original of *data*, even if the rest is damaged; `b""` if that
    is impossible.
    """
    try:
        return _opened(data, size)[1]
    except ValueError:
        return b""


def _opened(data: bytes, size: int) -> tuple[Any, bytes]:
    content_type, separator, body = data[len(MARKER) :].partition(b"\x00")
    if not separator:
        raise ValueError("the compression header is cut off")
    return _read(content_type.decode("ascii", "replace"), body, size)


def _read(content_type: str, body: bytes, size: int) -> tuple[Any, bytes]:
    stream = _stream(content_type)
    try:
        return stream, stream.decompress(body, size)
    except Exception as error:
        pass_on_interruption(error)
        raise ValueError(f"the compressed body is damaged: {error}") from error


def _stream(content_type: str) -> Any:
    match content_type:
        case "application/x-gzip":
            return import_module("zlib").decompressobj()
        case "application/x-bz2":
            return import_module("bz2").BZ2Decompressor()
        case "application/x-lzma":
            return import_module("lzma").LZMADecompressor(memlimit=_LZMA_MEMORY)
        case "application/zstd":
            # Its windows are of 128 MB at most, unless one asks for more.
            return _zstd().ZstdDecompressor()
        case "application/x-brotli":
            return _Brotli(_imported("brotli", "brotli", "brotlicffi").Decompressor())
    raise ValueError(f"it is compressed as {content_type!r}, which this version cannot inflate")


def _zstd() -> Any:
    return _imported("zstd", "compression.zstd", "backports.zstd")


def _imported(kind: str, *modules: str) -> Any:
    """Return the first module that is installed, of those that Celery uses."""
    for name in modules:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise ValueError(
        f"it is compressed by {kind}, which takes a package: pip install {modules[-1]}"
    )


class _Brotli:
    """Brotli's decompressor, with the interface of those of the standard library."""

    def __init__(self, decompressor: Any) -> None:
        self._decompressor = decompressor

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached."""
        return bool(self._decompressor.is_finished())

    def decompress(self, body: bytes, limit: int) -> bytes:
        """Return the original of *body*, up to a little over *limit* bytes."""
        parts = [self._decompressor.process(body, output_buffer_limit=limit)]
        size = len(parts[0])
        while size < limit and parts[-1]:
            parts.append(self._decompressor.process(b"", output_buffer_limit=limit - size))
            size += len(parts[-1])
        return b"".join(parts)
