"""
Records that are small in the store and large in memory, or slow to build.
"""

import json
import tracemalloc
import zlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import coatcheck
from coatcheck._coding.codec import Codec
from coatcheck._coding.compression import MARKER
from coatcheck._coding.limits import MAX_VALUES, hashable, holds_more
from coatcheck._record.documents import new_document
from coatcheck.errors import DecodeError, EncodeError, TaskError

MARK = MARKER + b"application/x-gzip\x00"
#: Python's hashes of whole numbers are taken modulo this one.
MODULUS = 2**61 - 1
MB = 1024 * 1024

VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
BINARY = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def in_msgpack(value):
    return b"\x83\xa6status\xa7SUCCESS\xa6result" + value + b"\xa7task_id\xa1t"


def in_json(value):
    return b'{"status": "SUCCESS", "result": ' + value + b', "task_id": "t"}'


def array(number, item):
    return b"\xdd" + number.to_bytes(4, "big") + number * item


def packed(body):
    return MARK + zlib.compress(body, 9)


def count(value):
    """
    Return how many values are in *value*.
    """
    items = value.values() if isinstance(value, dict) else value
    return sum(1 + count(item) for item in items) if isinstance(value, (dict, list)) else 0


def empty(value):
    """
    Return how many lists and mappings in *value* are empty.
    """
    items = value.values() if isinstance(value, dict) else value
    return (not items) + sum(map(empty, items)) if isinstance(value, (dict, list)) else 0


@given(VALUES, st.integers(0, 20))
def test_json_is_counted(value, limit):
    """
    What is counted is what is there; the empty ones may count twice. Text does not count.
    """
    data = json.dumps(value).encode()
    found = holds_more("json", data, limit)

    assert not found or count(value) + empty(value) > limit
    assert found or count(value) <= limit


@given(BINARY, st.integers(0, 20))
def test_msgpack_is_counted(value, limit):
    """
    What is counted is what is there; the empty ones may count twice.
    """
    data = msgpack.packb(value, use_bin_type=True)
    found = holds_more("msgpack", data, limit)

    assert not found or count(value) + empty(value) > limit
    assert found or count(value) <= limit


def test_long_texts_count_once():
    """
    A text in msgpack that says its length is one value, as a short one is.
    """
    data = msgpack.packb(["x" * 40] * 100)

    assert not holds_more("msgpack", data, 100)
    assert holds_more("msgpack", data, 99)


@given(st.binary(), st.sampled_from(["json", "msgpack", "pickle", "other"]))
def test_counting_never_fails(data, name):
    """
    Whatever the bytes are, they are counted.
    """
    assert holds_more(name, data, 0) in (True, False)


@given(VALUES, st.data())
def test_what_is_cut_off_holds_no_more(value, data):
    """
    A record that is cut off, in the middle of a text for one, is not taken for a larger one.
    """
    whole = json.dumps(value).encode()
    part = whole[: data.draw(st.integers(0, len(whole)))]

    assert holds_more("json", whole, 3) or not holds_more("json", part, 3)


@pytest.mark.parametrize("text", [b'"' + b'\\"' * MB, b'"' + b"\\" * MB, b'["' * MB, b'"",' * MB])
def test_counting_takes_no_time_that_grows_with_the_square(text):
    """
    Text that does not end is looked at once.
    """
    assert holds_more("json", text + b"," * 1000, 999) in (True, False)


def test_arrays_that_say_they_are_long():
    """
    The decoder makes room for what a header says, so what it says is counted.
    """
    assert holds_more("msgpack", b"\xdd\x00\x0f\x00\x00" * 1000 + b"\x00" * 2 * MB, MAX_VALUES)


BOMBS = {
    "json": packed(in_json(b"[" + b"[]," * 5 * MB + b"0]")),
    "json texts": packed(in_json(b'["a"' + b',"ab"' * 3 * MB + b"]")),
    "json objects": packed(in_json(b"[" + b'{"":9},' * 2 * MB + b"0]")),
    "msgpack": packed(in_msgpack(array(15 * MB, b"\x90"))),
    "msgpack nested": packed(in_msgpack(array(2 * MB, b"\x91\x91\x91\x90"))),
    "msgpack numbers": packed(in_msgpack(array(15 * MB, b"\xe0"))),
    "bytes": packed(in_json(b'"' + b"x" * 64 * MB + b'"')),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_what_a_bomb_costs(bomb):
    """
    To see the state costs nothing, and to be refused the value no more than to inflate it.
    """
    codec = Codec()
    tracemalloc.start()
    try:
        meta = codec.decode("t", bomb)
        assert "SUCCESS" == meta.status
        state = tracemalloc.get_traced_memory()[1]
        with pytest.raises(DecodeError, match=r"max_(inflated|values)="):
            _ = meta.result
        value = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert state < MB
    assert value < 64 * MB


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
def test_more_values_take_an_option(serializer):
    """
    What readers would refuse is not stored; the option makes both sides take it.
    """
    results = coatcheck.by_url(
        f"memory://limits-{serializer}", serializer=serializer, max_values=1000
    )
    value = list(range(100_000, 102_000))
    with pytest.raises(EncodeError, match=r"more than 1000 values.*max_values="):
        results.store_result("t", value)
    with pytest.raises(TaskError, match="max_values="):
        results.AsyncResult("t").get(timeout=10)

    data = Codec(serializer).encode(new_document("t", "SUCCESS", value))
    with pytest.raises(DecodeError, match=r"more than 1000 values.*max_values="):
        _ = Codec(max_values=1000).decode("t", data).result
    assert value == Codec().decode("t", data).result
    assert not Codec(max_values=1000).encodes(value)


def test_groups_and_single_values_are_bounded():
    """
    Groups hold values, and so do fields that are kept apart.
    """
    codec, ids = Codec(max_values=100), [str(number) for number in range(1000)]
    with pytest.raises(EncodeError, match=r"the group.*max_values="):
        codec.encode_group("g", ids)
    with pytest.raises(EncodeError, match=r"result.*max_values="):
        codec.encode_value("result", ids)
    with pytest.raises(DecodeError, match="max_values="):
        codec.decode_group("g", Codec().encode_group("g", ids))
    meta = codec.decode_fields("t", {"status": "SUCCESS", "result": json.dumps(ids)}, ["result"])
    assert "SUCCESS" == meta.status
    assert "max_values=" in str(meta.error)


@pytest.mark.parametrize("kind", ["zlib", "zstd", "celery"])
def test_more_bytes_take_an_option(kind):
    """
    A record that would inflate further than readers allow is stored as it is; the option makes both
    sides take it compressed.
    """
    document = new_document("t", "SUCCESS", "x" * 20 * MB)
    plain = Codec(compression=kind).encode(document)
    assert len(plain) > 20 * MB
    assert document["result"] == Codec().decode("t", plain).result

    data = Codec(compression=kind, max_inflated=32 * MB).encode(document)
    with pytest.raises(DecodeError, match="max_inflated="):
        _ = Codec().decode("t", data).result
    assert document["result"] == Codec(max_inflated=32 * MB).decode("t", data).result


def test_a_million_numbers_are_no_attack():
    """
    The default takes what people store.
    """
    value = list(range(1_000_000))

    for serializer in ("json", "msgpack"):
        data = Codec(serializer).encode(new_document("t", "SUCCESS", value))
        assert value == Codec().decode("t", data).result


def test_long_text_is_not_counted():
    """
    Commas and brackets in a text are no values.
    """
    value = "[{,]" * MB
    data = Codec().encode(new_document("t", "SUCCESS", value))

    assert value == Codec().decode("t", data).result


def tag(name, value):
    return in_json(json.dumps({"__type__": name, "__value__": value, "__coatcheck__": 1}).encode())


ALIKE = [number * MODULUS for number in range(20_000)]
FRACTIONS = [{"__type__": "decimal", "__value__": f"{number}.0"} for number in ALIKE]
IDS = [{"__type__": "uuid", "__value__": {"int": number}} for number in ALIKE]
PLANES = [
    {"__type__": "complex", "__value__": [-1000003 * n, n], "__coatcheck__": 1}
    for n in range(20_000)
]
#: The few numbers of msgpack that have the hash 1.
ONES = [2.0 ** (61 * n) for n in range(-17, 17)] + [1 + n * MODULUS for n in range(2, 8)]
COLLISIONS = {
    "set": tag("set", ALIKE),
    "frozenset": tag("frozenset", ALIKE),
    "keys": tag("dict", [[number, 0] for number in ALIKE]),
    "decimals": tag("set", FRACTIONS),
    "uuids": tag("set", IDS),
    "complex": tag("set", PLANES),
    "tuples": tag(
        "set", [{"__type__": "tuple", "__value__": [n], "__coatcheck__": 1} for n in ALIKE]
    ),
    "msgpack": in_msgpack(msgpack.packb(dict.fromkeys(ONES))),
}


@pytest.mark.parametrize("record", COLLISIONS.values(), ids=COLLISIONS)
def test_hashes_that_were_chosen(record):
    """
    What was made to have one hash is not put into a set, where it would take minutes.
    """
    meta = Codec().decode("t", record)

    assert "SUCCESS" == meta.status
    with pytest.raises(DecodeError, match="have the same hash"):
        _ = meta.result


def test_hashes_that_happen():
    """
    Numbers have equal hashes by nature, but not many.
    """
    grid = [(x, y, z) for x in range(-20, 20) for y in range(-20, 20) for z in (-1, -2)]

    assert grid == hashable(grid)


@pytest.mark.parametrize("name", ["tuple", "set", "frozenset", "dict", "timedelta", "complex"])
@pytest.mark.parametrize("value", ["long text", {"a": 1}, 7, None])
def test_what_is_in_a_tag_is_a_list(name, value):
    """
    Of a text no object is made for each character.
    """
    with pytest.raises(DecodeError, match="not a list"):
        _ = Codec().decode("t", tag(name, value)).result


def test_keys_that_are_no_text_in_msgpack():
    """
    Other programs may write them.
    """
    record = in_msgpack(msgpack.packb({1: "a", 2.5: "b", b"c": "d", "e": {3: 4}}))

    assert {1: "a", 2.5: "b", b"c": "d", "e": {3: 4}} == Codec().decode("t", record).result
