"""
The codec: what is written, recognised, accepted and refused.
"""

import collections
import json
import pickle
import sys
import threading
import zlib
from datetime import UTC, datetime

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import coatcheck
from coatcheck._coding import compression
from coatcheck._coding.codec import DEFAULT_ACCEPT, ENVELOPE_MAGIC, Codec
from coatcheck._coding.serializers import JSONSerializer
from coatcheck._record.failures import Failure
from coatcheck._record.meta import ResultMeta
from coatcheck.errors import (
    ConfigurationError,
    ContentDisallowed,
    DecodeError,
    EncodeError,
    PluginError,
    SerializationError,
)

ALL = ("json", "msgpack", "pickle")
DOCUMENT = {"status": "SUCCESS", "result": [1, "x"], "task_id": "t"}


def codec(serializer="json", **options):
    """
    Return a codec that writes and reads *serializer*.
    """
    return Codec(serializer, **{"accept": ALL, "unsafe_pickle": True, **options})


def in_celerys_marker(body, kind=b"application/x-gzip"):
    """
    Return *body* as Celery compresses it.
    """
    return compression.MARKER + kind + b"\x00" + zlib.compress(body)


class Broken:
    def __repr__(self):
        raise RuntimeError("no repr")

    def __reduce__(self):
        raise RuntimeError("no pickle")


@pytest.mark.parametrize("serializer", ALL)
def test_records_come_back(serializer):
    """
    A record is read by a codec that writes something else, without any setting but `accept`.
    """
    data = codec(serializer).encode(DOCUMENT)

    meta = Codec(accept=ALL).decode("t", data)

    assert DOCUMENT == meta.document
    assert ("SUCCESS", [1, "x"], data) == (meta.status, meta.result, meta.version)


def test_json_and_msgpack_are_accepted_by_default():
    """
    Without a setting JSON and msgpack are read, and pickle is not.
    """
    assert ("json", "msgpack") == DEFAULT_ACCEPT == Codec().accept


class Executed:
    runs: list[str] = []

    def __reduce__(self):
        return Executed.runs.append, ("run",)


def test_pickle_is_refused_before_it_is_decoded():
    """
    A pickled record that is not accepted shows its state, its value raises, and nothing runs.
    """
    data = pickle.dumps({"status": "SUCCESS", "result": Executed()}, 4)

    meta = Codec().decode("t1", data)

    assert ("SUCCESS", True, []) == (meta.status, meta.ready, Executed.runs)
    with pytest.raises(ContentDisallowed, match=r"'t1' is pickle.*json, msgpack.*accept="):
        _ = meta.result
    assert isinstance(meta.error, ContentDisallowed)


@pytest.mark.parametrize("serializer", ALL)
def test_every_serializer_can_be_refused(serializer):
    """
    A reader that accepts nothing still reads the state of every record.
    """
    meta = Codec(accept=()).decode("t", codec(serializer).encode(DOCUMENT))

    assert "SUCCESS" == meta.status
    assert isinstance(meta.error, ContentDisallowed)
    assert serializer == meta.error.serializer


def test_accept_may_be_one_name():
    """
    A single name is a list of one.
    """
    assert ("pickle",) == Codec(accept="pickle").accept


def test_pickle_is_written_only_on_purpose():
    """
    Choosing pickle without saying that it is unsafe is refused with the reason.
    """
    with pytest.raises(ConfigurationError, match="unsafe_pickle=True"):
        Codec("pickle")


def test_pickled_failures_need_no_class_of_the_application():
    """
    Under pickle a failure keeps plain data only, so that a reader without the classes reads it.
    """
    kept = codec("pickle").keep

    assert {"a": (1,)} == kept({"a": (1,)})
    assert "Counter({'a': 1})" == kept(collections.Counter("a"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"[1, 2]",
        b"null",
        b"\xff\xfe{\x00",
        b"\x00",
        b"\x80",
        b"\x80\x06.",
        b"\x80\x01.",
        b"\xc0",
        b"children: []\n",
    ],
)
def test_what_is_not_recognised_names_the_option(data):
    """
    Bytes of no known kind are an error that names the `serializer=` option.
    """
    meta = Codec(accept=ALL).decode("t1", data)

    assert ("PENDING", False) == (meta.status, meta.ready)
    with pytest.raises(DecodeError, match=r"'t1' cannot be read.*serializer="):
        _ = meta.result


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"status": "SUCCESS", "result": ', "damaged json: JSONDecodeError"),
        (b'{"status": "SUCCESS", "result": "\xff"}', "damaged json: UnicodeDecodeError"),
        (b'{"status": "SUCCESS", "r": ' + b"[" * 100_000, "damaged json: RecursionError"),
        (b'{"status": "SUCCESS", "r": ' + b"1" * 5000 + b"}", "damaged json: ValueError"),
        (b"\x82\xa6status\xa7SUCCESS\xa6result", "damaged msgpack"),
        (b"\x80\x04}\x94(\x8c\x06status\x94\x8c\x07SUCCESS\x94", "damaged pickle"),
    ],
    ids=["cut", "utf8", "deep", "digits", "msgpack", "pickle"],
)
def test_a_damaged_record_shows_its_state(data, reason):
    """
    Where the first bytes are whole the state is readable, and the value says what is wrong.
    """
    meta = Codec(accept=ALL).decode("t", data)

    assert ("SUCCESS", True) == (meta.status, meta.ready)
    with pytest.raises(DecodeError, match=reason):
        _ = meta.result


def test_a_record_is_a_mapping():
    """
    A pickle that holds something else is no record.
    """
    meta = codec().decode("t", pickle.dumps([1, 2], 4))

    assert "a record is a mapping, not list" in str(meta.error)


def test_the_envelope_of_a_later_version_shows_its_state():
    """
    A record in the envelope of a later version says so; its state can be read.
    """
    meta = Codec().decode("t", ENVELOPE_MAGIC + b"\x02\x07SUCCESSwhatever")

    assert ("SUCCESS", True) == (meta.status, meta.ready)
    with pytest.raises(DecodeError, match=r"has version 2, .* upgrade it"):
        _ = meta.result


@pytest.mark.parametrize("serializer", ALL)
def test_no_plain_record_starts_like_the_envelope(serializer):
    """
    The envelope's first byte is not a serializer's.
    """
    assert not codec(serializer).serializer.recognises(ENVELOPE_MAGIC)


def test_celerys_compressed_records_are_read():
    """
    A compressed record is read whatever its serializer, without a setting.
    """
    for serializer in ALL:
        data = in_celerys_marker(codec(serializer).encode(DOCUMENT))

        assert DOCUMENT == codec().decode("t", data).document
        assert "SUCCESS" == codec().state_of(data)


def test_compression_bombs_are_bounded():
    """
    A record that inflates over the bound shows its state; the error names the bound.
    """
    bomb = in_celerys_marker(b'{"status": "SUCCESS", "result": "' + b"x" * 100_000 + b'"}')

    meta = Codec(max_inflated=50_000).decode("t", bomb)

    assert "SUCCESS" == meta.status
    with pytest.raises(DecodeError, match=r"inflates to more than 50000 bytes.*max_inflated="):
        _ = meta.result


def test_what_is_compressed_and_refused_shows_its_state():
    """
    A compressed pickle is not loaded by who does not accept it; its state is read, and protected.
    """
    data = in_celerys_marker(codec("pickle").encode(DOCUMENT))
    reader = Codec(accept=["json"])
    meta = reader.decode("t", data)

    assert isinstance(meta.error, ContentDisallowed)
    assert "SUCCESS" == meta.status == reader.state_of(data)


def test_compression_is_not_nested():
    """
    A compressed record in a compressed one is not opened again.
    """
    twice = in_celerys_marker(in_celerys_marker(codec().encode(DOCUMENT)))

    assert isinstance(Codec().decode("t", twice).error, DecodeError)


BYTES = st.binary(max_size=200) | st.builds(
    lambda start, rest: start + rest,
    st.sampled_from(
        [b"{", b"\x81", b"\xde", b"\xdf", b"\x80\x04", compression.MARKER, ENVELOPE_MAGIC]
        + [compression.MARKER + b"application/x-gzip\x00", b'{"status": "SUCCESS", ']
    ),
    st.binary(max_size=200),
)


def check_readable(meta):
    """
    Check that nothing about *meta* raises but its value, and that only with our errors.
    """
    assert isinstance(meta, ResultMeta)
    assert isinstance(meta.status, str)
    assert isinstance(meta.ready, bool)
    assert isinstance(meta.error, SerializationError | None)
    assert isinstance(meta.date_done, datetime | None)
    assert isinstance(meta.failure, Failure | None)
    if meta.error is None and meta.failure is not None:
        assert isinstance(meta.result, Exception | None)


@given(BYTES)
@example(b'{"status": ["SUCCESS"]}')
@example(b'{"status": "FAILURE", "failure": {"attributes": {"__type__": "dict", '
         b'"__value__": [[1, 2]], "__coatcheck__": 1}}}')  # fmt: skip
def test_decode_never_raises(data):
    """
    Whatever bytes are stored, a snapshot is returned, and only its value raises.
    """
    for reader in (Codec(), Codec(accept=())):
        check_readable(reader.decode("t", data))
        assert isinstance(reader.state_of(data), str | None)


@given(
    st.sampled_from(["json", "msgpack"]),
    st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=5),
    st.booleans(),
    st.booleans(),
)
def test_decode_never_raises_for_damaged_records(serializer, changes, compress, cut):
    """
    Whatever bytes of a real record are changed or cut off, a snapshot is returned.
    """
    document = {
        "status": "FAILURE",
        "result": {"exc_type": "E", "exc_message": ["x", 1], "exc_module": "m"},
        "date_done": "2026-01-01T00:00:00+00:00",
        "v": 1,
        "failure": {"type": "E", "module": "m", "bases": ["builtins.OSError"], "args": [1, "x"]}
        | {"attributes": {"errno": 5}, "notes": ["n"], "cause": {"type": "C", "exceptions": [{}]}},
    }
    data = codec(serializer).encode(document)
    data = bytearray(in_celerys_marker(data) if compress else data)
    for place, byte in changes:
        data[place % len(data)] = byte
    if cut:
        del data[changes[0][0] % len(data) :]

    check_readable(Codec().decode("t", bytes(data)))


CYCLE: list = []
CYCLE.append(CYCLE)
DEEP: list = []
for _ in range(5000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("serializer", "value", "path", "reason"),
    [
        ("json", {"a": [1, {2}, object()]}, "result['a'][2]", "no tag for the type object"),
        ("json", (1, (threading.Lock(),)), "result[1][0]", "no tag for the type _thread.lock"),
        ("json", {(1, 2): object()}, "result[(1, 2)]", "no tag"),
        ("json", {object(): 1}, "result", "no tag"),
        ("json", {1, object()}, "result", "no tag"),
        ("json", [10**5000], "result[0]", "4300"),
        ("json", [CYCLE], "result[0][0]", "nested too deeply, or contains itself"),
        ("json", Broken(), "result", "no tag for the type"),
        ("msgpack", {"a": [2**64]}, "result['a'][0]", "int"),
        ("msgpack", {"a": {1: 2}}, "result['a']", "text keys only"),
        ("msgpack", ["\udcff"], "result[0]", "str"),
        ("msgpack", [CYCLE], "result[0][0]", "nested too deeply, or contains itself"),
        ("pickle", [threading.Lock()], "result[0]", "cannot pickle"),
        ("pickle", {"a": Broken()}, "result['a']", "no pickle"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_named_by_its_path(serializer, value, path, reason):
    """
    A value that the serializer cannot keep is an error with the path to the culprit.
    """
    with pytest.raises(EncodeError) as info:
        codec(serializer).encode({"status": "SUCCESS", "result": value})

    assert path == info.value.path
    assert f"the serializer {serializer!r} cannot keep {path}: " in str(info.value)
    assert reason in str(info.value)


@pytest.mark.parametrize("serializer", ALL)
def test_too_deep_values_are_refused(serializer):
    """
    A value that is nested too deeply is refused, its path shortened.
    """
    with pytest.raises(EncodeError, match=r"nested too deeply|recursion") as info:
        codec(serializer).encode({"status": "SUCCESS", "result": DEEP})

    assert len(info.value.path) < 300


def test_paths_show_keys_shortened():
    """
    A huge key, or one whose repr fails, does not make the message huge or fail.
    """

    class Key(str):
        __slots__ = ()

        def __repr__(self):
            raise RuntimeError

    for key in ("k" * 100_000, Key("k")):
        with pytest.raises(EncodeError) as info:
            codec("pickle").encode({"status": "SUCCESS", "result": {key: threading.Lock()}})
        assert len(str(info.value)) < 1000


def test_other_keys_of_the_record_are_named_too():
    """
    The path starts with the record's key.
    """
    with pytest.raises(EncodeError, match=r"cannot keep kwargs\['a'\]"):
        Codec().encode({"status": "SUCCESS", "result": 1, "kwargs": {"a": object()}})


def test_strict_refuses_tuples_where_they_would_change():
    """
    Under strict msgpack refuses a tuple that it would make a list of, and JSON tags it.
    """
    with pytest.raises(EncodeError, match=r"result\[0\]: tuple: msgpack has no tuple"):
        codec("msgpack", strict=True).encode({"status": "SUCCESS", "result": [(1,)]})
    strict = Codec(strict=True)
    assert (1,) == strict.decode("t", strict.encode({"status": "S", "result": (1,)})).result


def test_missing_packages_are_named_on_writing(monkeypatch):
    """
    A serializer without its package is not taken for a value that cannot be kept.
    """
    monkeypatch.setitem(__import__("sys").modules, "msgpack", None)

    with pytest.raises(PluginError, match="needs the package msgpack"):
        codec("msgpack").encode(DOCUMENT)


def test_missing_packages_are_named_on_reading(monkeypatch):
    """
    A reader without the package of a record's serializer says so when the value is read.
    """
    data = msgpack.packb(DOCUMENT)
    monkeypatch.setitem(__import__("sys").modules, "msgpack", None)

    meta = Codec().decode("t", data)

    assert "SUCCESS" == meta.status
    assert "needs the package msgpack" in str(meta.error)


def test_the_state_is_read_without_decoding(monkeypatch):
    """
    Where the first bytes show the state, nothing else is decoded.
    """
    monkeypatch.setattr(Codec, "decode", None)

    assert "STARTED" == Codec().state_of(b'{"status": "STARTED", "result": garbage')


def test_the_state_is_read_in_foreign_key_order():
    """
    Where the first bytes do not show it, the record is decoded for its state.
    """
    assert "SUCCESS" == Codec().state_of(b'{"result": "FAILURE", "status": "SUCCESS"}')
    assert Codec().state_of(b'{"result": {"status": "SUCCESS"}}') is None
    assert Codec().state_of(b'{"status": 5}') is None
    assert Codec().state_of(b"garbage") is None


class Reversed:
    """
    A serializer without a signature of its own: JSON backwards.
    """

    name = "reversed"
    text = False

    def dumps(self, document, *, strict):
        return json.dumps(document).encode()[::-1]

    def dumps_value(self, value, *, strict):
        return self.dumps(value, strict=strict)

    def loads(self, data):
        return json.loads(data[::-1]), False

    def revive(self, value):
        return value

    def recognises(self, head):
        return False

    def peek(self, head):
        return None


def test_own_serializers_write_and_read():
    """
    A serializer given as an object, and accepted by its name, is used both ways.
    """
    own = Codec(Reversed(), accept=["reversed", "json"])

    assert 1 == own.decode("t", own.encode({"status": "SUCCESS", "result": 1})).result
    assert 2 == own.decode("t", b'{"status": "SUCCESS", "result": 2}').result


def test_own_serializers_have_to_be_accepted():
    """
    What is written with an own serializer is refused where its name is not accepted.
    """
    own = Codec(Reversed())

    meta = own.decode("t", own.encode(DOCUMENT))

    assert isinstance(meta.error, ContentDisallowed)
    assert "reversed" == meta.error.serializer


def test_accepted_names_have_to_exist():
    """
    A name in `accept` that no serializer has is refused at once.
    """
    with pytest.raises(ConfigurationError, match="unknown serializer 'yaml'"):
        Codec(accept=["json", "yaml"])


def test_accepted_plugins_are_loaded(distribution):
    """
    A serializer that is only read is found by its entry point.
    """
    source = "from coatcheck._coding.serializers import JSONSerializer\nclass Other(JSONSerializer):\n    name = 'other'\n"
    distribution("coat-other", "coatcheck.serializers", other="coat_other:Other", coat_other=source)

    reader = Codec(accept=["other"])

    assert "other" in [serializer.name for serializer in reader._readers._all]


def test_written_snapshots_show_values_as_they_are():
    """
    The snapshot of a record about to be stored holds its values untouched.
    """
    value = (1, {2})

    meta = Codec().written({"status": "SUCCESS", "result": value, "task_id": "t"})

    assert value is meta.result
    assert "t" == meta.task_id


def test_json_subclasses_are_serializers():
    """
    The built-in serializers can be derived from.
    """

    class Compact(JSONSerializer):
        name = "compact"

    own = Codec(Compact(), accept=["compact"])

    assert [1, "x"] == own.decode("t", own.encode(DOCUMENT)).result


@pytest.mark.parametrize("fill", ["", "x" * 300])
def test_of_equal_keys_the_last_one_counts(fill):
    """
    As in every reader of JSON, also for the state, which is read first; one inside the value does not.
    """
    twice = f'{{"status": "STARTED", "result": "{fill}", "status": "SUCCESS"}}'.encode()
    inside = f'{{"status": "SUCCESS", "result": [{{"status": "{fill}"}}], "v": 1}}'.encode()

    assert "SUCCESS" == Codec().decode("t", twice).status
    assert "SUCCESS" == Codec().decode("t", inside).status
    assert [{"status": fill}] == Codec().decode("t", inside).result


@pytest.mark.parametrize("value", ["2026-11-30T12:00:00", "2026-11-30T12:00:00+00:00"])
def test_tagged_dates(value):
    """
    A date may be stored as a tag; one that is damaged is none.
    """
    for text, found in ((value, datetime(2026, 11, 30, 12, tzinfo=UTC)), ("nope", None)):
        document = {
            "status": "SUCCESS",
            "result": None,
            "date_done": {"__type__": "datetime", "__value__": text},
        }
        assert found == Codec().decode("t", json.dumps(document).encode()).date_done


def test_damaged_tags_do_not_hide_a_failure():
    """
    A damaged tag in what is stored of a failure leaves the rest of it readable.
    """
    bad = {"__type__": "datetime", "__value__": "nope"}
    for document in (
        {"failure": {"type": "OSError", "module": "builtins", "message": "m", "args": ["m", bad]}},
        {"result": {"exc_type": "OSError", "exc_module": "builtins", "exc_message": ["m", bad]}},
    ):
        meta = Codec().decode("t", json.dumps({"status": "FAILURE", **document}).encode())

        assert OSError is type(meta.result)
        assert ("m", bad) == meta.failure.args


def test_a_serializer_takes_the_place_of_its_namesake():
    """A serializer with the name of a built-in one also reads what that would."""

    class Shouting(JSONSerializer):
        """Reads texts as upper case."""

        def loads(self, data):
            document, _ = super().loads(data)
            return document, True

        def revive(self, value):
            return value.upper() if isinstance(value, str) else value

    codec = Codec(Shouting())
    data = b'{"status": "SUCCESS", "result": "a", "task_id": "t"}'

    assert "A" == codec.decode("t", data).result
    assert "SUCCESS" == codec.state_of(data)
    assert codec.decode("t", b"\xff").error is not None
    assert "belong to no serializer" in str(codec.decode("t", b"\xff").error)


def test_a_package_that_reading_needs(monkeypatch):
    """
    A record whose package is missing is not called damaged, and its state is read.
    """
    with coatcheck.by_url("memory://codec-missing", serializer="msgpack") as writer:
        writer.store_result("t", [1])
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with coatcheck.by_url("memory://codec-missing") as reader:
        meta = reader.get_many(["t"])["t"]

        assert "SUCCESS" == meta.status
        with pytest.raises(DecodeError, match="needs the package msgpack: pip install") as caught:
            meta.get()
        assert "damaged" not in str(caught.value)
