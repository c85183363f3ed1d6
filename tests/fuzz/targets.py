"""
What is fuzzed: each decoder as a function of bytes, which returns, or raises what is a bug.
"""

from __future__ import annotations

import base64
import bz2
import contextlib
import json
import lzma
import pickle
import pickletools  # noqa: F401 - what reads rows of pickles imports it when it is first used
import tomllib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import bson
from bson.errors import BSONError

from coatcheck._coding import compression, envelope, jsontags, jsontypes, sealing
from coatcheck._coding.codec import Codec
from coatcheck._coding.keys import is_reference, read
from coatcheck._record.failures import Failure
from coatcheck._record.meta import ResultMeta
from coatcheck._record.raising import Trusted
from coatcheck._settings import celeryconfig
from coatcheck._settings.config import CORE_OPTIONS, split_options
from coatcheck._settings.configfile import Configuration
from coatcheck._settings.options import KEY_OPTIONS
from coatcheck._settings.url import URL, masked
from coatcheck.errors import CoatcheckError, ConfigurationError, SerializationError
from coatcheck_mongo import records as documents
from coatcheck_sql import pickled
from coatcheck_sql import records as rows

T = TypeVar("T")

#: Up to this much is to be inflated; what is allowed in earnest would take the fuzzer too long.
LIMIT = 1024 * 1024

KEYS = read({"new": "n" * 32, "old": "o" * 32})
PLAIN = Codec(max_inflated=LIMIT)
SIGNED = Codec(max_inflated=LIMIT, signing_keys=KEYS)
ENCRYPTED = Codec(max_inflated=LIMIT, encryption_keys=KEYS)
MIXED = Codec(max_inflated=LIMIT, signing_keys=KEYS, encryption_keys=KEYS, accept_unsigned=True)
#: What pickles ask for is refused by all of them.
READERS = (PLAIN, Codec("msgpack", max_inflated=LIMIT), SIGNED, ENCRYPTED, MIXED)
NOBODY = Trusted()

DATA = Path(__file__).parents[1] / "data" / "celery"


#: What of a record may raise where it is damaged; nothing else may.
VALUES = ("result", "info", "args", "kwargs", "get")
ATTRIBUTES = [n for n in dir(ResultMeta) if not n.startswith("_") and n not in VALUES]


def look_at(meta: ResultMeta) -> None:
    """
    Ask for all that a record has. Only its value may raise, and only what a reader expects.
    """
    for name in ATTRIBUTES:
        getattr(meta, name)
    meta.values()
    for name in ("args", "kwargs"):
        with contextlib.suppress(SerializationError):
            getattr(meta, name)
    assert meta.error is None or isinstance(meta.error, SerializationError)
    repr(meta)
    for wrap in (False, True):
        _raised(partial(meta.get, wrap=wrap), meta)


def _raised(get: Callable[[], Any], meta: ResultMeta) -> None:
    try:
        get()
    except SerializationError:
        assert meta.error is not None
    except Exception as error:
        # The failure of the task, as an exception that was made of data.
        assert meta.status in ("FAILURE", "REVOKED"), repr(error)
        _look_at_exception(error)


def _look_at_exception(error: BaseException) -> None:
    str(error)
    repr(error)
    assert isinstance(error, Exception)


def _whole(codec: Codec, data: bytes) -> None:
    state = codec.state_of(data)
    assert state is None or isinstance(state, str)
    look_at(codec.decode("t", data))
    decode = (codec.decode_group, codec.decode_group_tree)[len(data) & 1]
    with contextlib.suppress(SerializationError):
        decode("g", data)


def record(data: bytes) -> None:
    """
    A record of a key-value store, as anybody may have put it there.
    """
    _whole(_one_of(READERS, data), data)


def authentic(data: bytes) -> None:
    """
    A record that was signed or encrypted by a key, whatever it is.
    """
    names = ("json", "msgpack", "pickle", "toml")
    first, body = data[0] if data else 0, data[1:]
    codec = (SIGNED, ENCRYPTED)[first & 1]
    sealed = codec._sealer.seal("SUCCESS", "t", names[first >> 1 & 3], body)
    _whole(_one_of((codec, codec, MIXED, PLAIN), data), sealed)


def sealed(data: bytes) -> None:
    """
    An envelope that anybody may have made: its head is the fuzzer's, its checksum is right.
    """
    with contextlib.suppress(ValueError):
        envelope.parse(data)
    state = envelope.peek(data)
    assert state is None or isinstance(state, str)
    names, _, body = data.partition(b"\n")
    parts = [part.decode("utf-8", "replace") for part in names.split(b",")]
    if len(parts) == 4:
        status, id_, serializer, packed = parts
        with contextlib.suppress(ValueError):
            head = envelope.head_of(
                status,
                id_,
                serializer=serializer,
                compression=packed,
                seal=sealing.CHECKSUM,
                key="",
            )
            _whole(PLAIN, head + sealing._checksum(head, body) + body)
    _whole(_one_of(READERS, data), envelope.MAGIC + data)


def inflated(data: bytes) -> None:
    """
    What is compressed, of every kind, Celery's marker included.
    """
    kinds = sorted({*compression.OURS, "application/x-bz2", "application/x-lzma", "x", ""})
    kind, body = kinds[data[0] % len(kinds)] if data else "", data[1:]
    with contextlib.suppress(ValueError):
        assert len(compression.decompressed(kind, body, LIMIT)) <= LIMIT
    marked = compression.MARKER + kind.encode() + b"\x00" + body
    for form in (data, compression.MARKER + data, marked):
        with contextlib.suppress(ValueError):
            assert len(compression.inflate(form, LIMIT)) <= LIMIT
        compression.head(form, 128)
    _whole(PLAIN, marked)


def _one_of(several: Sequence[T], data: bytes) -> T:
    """
    Return one for each input, and the same one for those that are equally long.
    """
    return several[len(data) % len(several)]


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def tags(data: bytes) -> None:
    """
    The tags of JSON: any error is one of a damaged value, see `ResultMeta`.
    """
    value = _json(data)
    try:
        revived = jsontags.revive(value)
    except Exception:
        revived = None
    repr(revived)
    look_at(PLAIN.decode("t", b'{"status": "SUCCESS", "result": ' + data + b', "task_id": "t"}'))


def failure(data: bytes) -> None:
    """
    A failure, as coatcheck and as Celery keep it.
    """
    value = _json(data)
    for made in (Failure.from_document(value), Failure.from_celery(value)):
        str(made)
        repr(made)
        for wrap in (False, True):
            _look_at_exception(made.exception(NOBODY, wrap=wrap))
        json.dumps(made.to_document(PLAIN.keep))
        json.dumps(made.to_celery(PLAIN.keep))
    text = data.decode("utf-8", "replace")
    document = {"status": "FAILURE", "result": value, "failure": value, "traceback": text}
    look_at(PLAIN.decode_fields("t", document, []))


def fields(data: bytes) -> None:
    """
    A record whose fields are kept apart, and a value that stands by itself.
    """
    first, body = data[:1], data[1:]
    text = body.decode("utf-8", "replace")
    codec = _one_of((PLAIN, READERS[1], PLAIN, SIGNED, MIXED), data)
    name = _one_of((None, "json", "msgpack", None, "pickle", None, text[:8]), data)
    for value in (body, text):
        stored = {"status": "SUCCESS", "result": value, "failure": value, "args": first}
        coded = ["result", "failure", "args"]
        look_at(codec.decode_fields("t", stored, coded, serializer=name))
        with contextlib.suppress(SerializationError):
            codec.decode_value("t", value)


def mongo(data: bytes) -> None:
    """
    A document of MongoDB.
    """
    try:
        found = bson.decode(data, documents.CODEC_OPTIONS)
    except (BSONError, ValueError, OverflowError, RecursionError):
        return  # no server would have taken it
    for codec in (PLAIN, SIGNED):
        look_at(documents.decoded({**found, "_id": "t"}, codec))
        with contextlib.suppress(SerializationError):
            documents.decoded_group({**found, "_id": "g"}, codec)


def sql(data: bytes) -> None:
    """
    A row of Celery's tables, and the pickles in it, of which only plain data is built.
    """
    with contextlib.suppress(pickled.Refused):
        pickled.loads(data)
    with contextlib.suppress(pickled.Refused):
        pickled.group(data)
    half = len(data) // 2
    row = {
        "task_id": "t",
        "status": "SUCCESS",
        "result": data,
        "date_done": data[:20].decode("utf-8", "replace"),
        "children": data[:half],
        "args": data[half:],
        "stamps": data,
        "more": data,
        "failure": data,
        "sealed": bool(half & 1),
        "serializer": data[:4].decode("utf-8", "replace"),
    }
    codec = _one_of((PLAIN, SIGNED, PLAIN), data)
    look_at(rows.decoded(row, codec, None))
    for decode in (rows.decoded_group, rows.decoded_tree):
        with contextlib.suppress(SerializationError):
            decode("g", row, codec)


def url(data: bytes) -> None:
    """
    A URL, and what is shown of it.
    """
    text = data.decode("utf-8", "replace")
    masked(text)
    try:
        made = URL(text)
    except ConfigurationError as error:
        str(error)
        return
    str(made)
    repr(made)
    assert isinstance(made.path, str)
    assert isinstance(made.netloc, str)
    for name in KEY_OPTIONS:
        if is_reference(made.query.get(name)):
            del made.query[name]  # where keys are is followed: whoever gives the URL is trusted
    with contextlib.suppress(ConfigurationError):
        split_options(made, {})


def configuration(data: bytes) -> None:
    """
    A configuration file, and each option in it.
    """
    try:
        tables = tomllib.loads(data.decode("utf-8", "replace"))
    except (tomllib.TOMLDecodeError, RecursionError):
        tables = _json(data)
    if not isinstance(tables, dict):
        return
    for given in (tables, {"backends": tables}, {"backends": {"default": tables}}):
        with contextlib.suppress(ConfigurationError):
            for named in Configuration(given, "the file").backends.values():
                kept = {k: v for k, v in named.options.items() if not is_reference(v)}
                split_options(URL("memory://"), {}, kept, where=named.where)
    for name, reader in CORE_OPTIONS.items():
        for value in tables.values():
            if not is_reference(value):
                with contextlib.suppress(ValueError, TypeError, OverflowError):
                    reader(value)
                with contextlib.suppress(ConfigurationError):
                    split_options(URL("memory://"), {}, {name: value})


def celery(data: bytes) -> None:
    """
    The configuration of an application of Celery.
    """
    settings = _json(data)
    if not isinstance(settings, dict):
        settings = {"result_backend": data.decode("utf-8", "replace")}
    with contextlib.suppress(ConfigurationError):
        found = celeryconfig.read(settings)
        for part in (celeryconfig.url_of, celeryconfig.own_options):
            with contextlib.suppress(ConfigurationError):
                part(found)
        for read_only in (False, True):
            with contextlib.suppress(ConfigurationError):
                celeryconfig.common_options(found, read_only=read_only)


def keys(data: bytes) -> None:
    """
    The text of keys.
    """
    text = data.decode("utf-8", "replace")
    if not is_reference(text):
        with contextlib.suppress(ValueError):
            repr(read(text))


#: By name. In those that read configuration whoever gives it may have modules imported.
TARGETS: dict[str, Callable[[bytes], None]] = {
    made.__name__: made
    for made in (
        record, authentic, sealed, inflated, tags, failure, fields, mongo, sql, url, configuration,
        celery, keys,
    )
}  # fmt: skip

# -- what to begin with ------------------------------------------------------------------------

_DOCUMENT = {"status": "FAILURE", "result": {"exc_type": "E", "exc_message": ["x"]}, "task_id": "t"}


def _captured() -> Iterator[bytes]:
    """
    What real Celerys have stored.
    """
    with (DATA / "reader-behaviour.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            given = json.loads(line).get("input")
            if isinstance(given, str):
                yield base64.b64decode(given)


def _samples() -> Iterator[bytes]:
    yield from (b"", b"{", b"\x00", b"\xc1COAT", b"\x80\x04", b"\x81\xa6status")
    for value in ([1, "x"], {1: {2}}, 1.5, b"\xff", None, 2**70, jsontypes.Decimal(1)):
        document = {"status": "SUCCESS", "result": value, "task_id": "t", "v": 1}
        for codec in READERS:
            with contextlib.suppress(CoatcheckError):
                yield codec.encode(document)
        yield pickle.dumps(document, 4)
    # Each by a module of the standard library, which is imported when it is first needed.
    yield b"\x80\x02(Vx\nI1\nL1L\nF1.5\nS'x'\np1\nl."
    packed = json.dumps(_DOCUMENT).encode() * 20
    yield from (zlib.compress(packed), bz2.compress(packed), lzma.compress(packed))
    yield compression.compressed("zstd", packed)
    yield compression.marked(packed)
    for kind in ("gzip", "bz2", "lzma", "brotli"):
        yield compression.MARKER + f"application/x-{kind}".encode() + b"\x00x"
    yield bson.encode({"_id": "t", **_DOCUMENT})
    made = Failure.of(ExceptionGroup("g", [ValueError("x"), KeyError("y")]))
    yield json.dumps(made.to_document(PLAIN.keep)).encode()
    for url_ in ("redis://u:p@h:1/2?db=3", "sentinel://:p@a;sentinel://:p@b/0", "db+sqlite:///x"):
        yield url_.encode()
        yield json.dumps({"result_backend": url_, "result_expires": 5}).encode()
    yield b'[backends.default]\nurl = "memory://"\nexpires = 5\ncompression = "zlib"\n'
    yield b"SUCCESS,t,json,\n" + json.dumps({**_DOCUMENT, "status": "SUCCESS"}).encode()
    yield b"a:" + b"x" * 32


def seeds() -> Iterable[bytes]:
    """
    Return what to begin with.
    """
    return [*_samples(), *_captured()]
