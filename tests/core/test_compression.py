"""
Celery's compressed records: opened within bounds, or refused with a reason.
"""

import bz2
import gzip
import lzma
import sys
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck._coding.compression import MARKER, inflate

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 1000
COMPRESSORS = {
    b"application/x-gzip": zlib.compress,
    b"application/x-bz2": bz2.compress,
    b"application/x-lzma": lzma.compress,
    b"application/zstd": zstd.compress,
    b"application/x-brotli": brotli.compress,
}
KINDS = pytest.mark.parametrize("kind", COMPRESSORS, ids=bytes.decode)


def compressed(kind, body):
    """
    Return *body* as Celery stores it.
    """
    return MARKER + kind + b"\x00" + COMPRESSORS[kind](body)


@KINDS
@pytest.mark.parametrize("body", [b"", b"x", b'{"status": "SUCCESS"}', b"x" * LIMIT])
def test_what_celery_compresses_is_opened(kind, body):
    """
    A body up to the limit comes out as it went in.
    """
    assert body == inflate(compressed(kind, body), LIMIT)


@KINDS
@pytest.mark.parametrize("size", [LIMIT + 1, 50 * LIMIT, 5_000_000])
def test_bombs_are_bounded(kind, size):
    """
    A body over the limit is refused, naming the limit.
    """
    with pytest.raises(ValueError, match="inflates to more than 1000 bytes"):
        inflate(compressed(kind, b"x" * size), LIMIT)


@KINDS
def test_cut_off_bodies_are_refused(kind):
    """
    A body without its end is refused, whatever came out of its start.
    """
    data = compressed(kind, bytes(range(256)))

    with pytest.raises(ValueError, match=r"cut off|damaged"):
        inflate(data[:-9], LIMIT)


@KINDS
def test_damaged_bodies_are_refused(kind):
    """
    A body that is no such stream is refused.
    """
    with pytest.raises(ValueError, match="the compressed body is damaged"):
        inflate(MARKER + kind + b"\x00not a stream", LIMIT)


def test_headers_may_not_ask_for_gigabytes():
    """
    An lzma body whose header asks for a huge dictionary is refused before it is made.
    """
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]
    body = lzma.compress(b"x", check=lzma.CHECK_NONE, filters=filters)

    with pytest.raises(ValueError, match=r"[Mm]emory usage limit"):
        inflate(MARKER + b"application/x-lzma\x00" + body, LIMIT)


def test_bodies_called_gzip_are_zlib_streams():
    """
    Celery's "gzip" is zlib; a real gzip stream under that name is not Celery's.
    """
    with pytest.raises(ValueError, match="damaged"):
        inflate(MARKER + b"application/x-gzip\x00" + gzip.compress(b"x"), LIMIT)


@pytest.mark.parametrize(
    "kind", [b"application/x-snappy", b"", b"\xff\xfe", b"application/x-nosuch"]
)
def test_unknown_content_types_are_named(kind):
    """
    A content type that cannot be inflated is named in the error.
    """
    with pytest.raises(ValueError, match=r"compressed as '.*', which this version cannot inflate"):
        inflate(MARKER + kind + b"\x00abc", LIMIT)


@pytest.mark.parametrize(
    ("kind", "modules"),
    [
        (b"application/zstd", ("compression.zstd", "backports.zstd")),
        (b"application/x-brotli", ("brotli", "brotlicffi")),
    ],
)
def test_what_takes_a_package_names_it(monkeypatch, kind, modules):
    """
    Where the package that inflates it is not installed, the error says which.
    """
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(ValueError, match=f"pip install {modules[-1]}"):
        inflate(compressed(kind, b"x"), LIMIT)


def test_headers_that_are_cut_off_are_refused():
    """
    A marker without a content type is refused.
    """
    with pytest.raises(ValueError, match="header is cut off"):
        inflate(MARKER + b"application/x-gzip", LIMIT)


@given(st.sampled_from(sorted(COMPRESSORS)), st.binary(max_size=200), st.data())
def test_damage_is_a_value_error_at_most(kind, body, data):
    """
    Whatever byte is changed, the body comes out bounded or a ValueError says that it cannot.
    """
    stored = bytearray(compressed(kind, body))
    place = data.draw(st.integers(len(MARKER), len(stored) - 1))
    stored[place] = data.draw(st.integers(0, 255))

    try:
        inflated = inflate(bytes(stored), LIMIT)
    except ValueError:
        return
    assert len(inflated) <= LIMIT
