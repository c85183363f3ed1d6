"""
JSON by orjson and by the standard library: the same values, and the same refusals.
"""

import dataclasses
import enum
import itertools
import json
import math
import uuid
from collections import namedtuple
from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coatcheck._coding.codec import Codec
from coatcheck._coding.jsontext import FastText, StandardText
from coatcheck._coding.serializers import JSONSerializer
from coatcheck._record.documents import new_document
from coatcheck.errors import EncodeError


class Colour(enum.Enum):
    RED = "red"


class Word(str):
    __slots__ = ()


@dataclasses.dataclass
class Report:
    rows: int


Pair = namedtuple("Pair", "one other")

ODD = [
    math.nan,
    math.inf,
    -math.inf,
    2**63,
    2**64,
    -(2**63) - 1,
    10**40,
    1e308,
    -0.0,
    "\ud800",
    "\u00e9\U0001f600",
    "null NaN 1234567890123456789012",
    uuid.UUID(int=1),
    Colour.RED,
    Word("x"),
    Report(1),
    Pair(1, 2),
    (1, 2),
    {1: 2},
    {Word("k"): 1},
    {"__type__": "x"},
    {"__type__": "uuid", "__value__": {"hex": "0" * 32}},
    datetime(2026, 1, 2, tzinfo=UTC),
    Decimal("1.50"),
    b"\xff",
    {1, 2},
    object(),
]
LEAVES = st.sampled_from(ODD) | st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)
#: With a text that is long enough for orjson.
LONG = "x" * 1000


def codec(text, **options):
    serializer = JSONSerializer()
    vars(serializer)["_text"] = text
    return Codec(serializer, **options)


def outcome(act):
    """
    What *act* returns, in a form that tells types and signs apart, or what it raises.
    """
    try:
        return repr(act())
    except EncodeError as error:
        return f"{type(error)}: {error}"


@pytest.mark.parametrize("strict", [False, True])
@given(value=VALUES)
@example(value=ODD[:9])
@example(value=[[]] * 20)
def test_both_keep_and_refuse_the_same(strict, value):
    """
    Each engine stores what the other stores, refuses what it refuses, and reads what it wrote.
    """
    document = new_document("t", "SUCCESS", [value, LONG])
    codecs = [codec(text, strict=strict) for text in (StandardText(), FastText(orjson))]
    pairs = list(itertools.product(codecs, codecs))

    whole = {
        outcome(lambda w=writer, r=reader: r.decode("t", w.encode(document)).result)
        for writer, reader in pairs
    }
    alone = {
        outcome(
            lambda w=writer, r=reader: r.decode_value("t", w.encode_value("result", [value, LONG]))
        )
        for writer, reader in pairs
    }

    assert (1, 1) == (len(whole), len(alone))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
@pytest.mark.parametrize("place", [lambda odd: odd, lambda odd: [odd], lambda odd: {"a": [odd]}])
def test_each_odd_value_in_each_place(odd, place):
    """
    None of the values that orjson would change gets to it, at the top or further down.
    """
    document = {**new_document("t", "SUCCESS", place(odd)), "args": LONG}
    standard, fast = (codec(text) for text in (StandardText(), FastText(orjson)))

    expected = outcome(lambda: standard.decode("t", standard.encode(document)).result)

    assert expected == outcome(lambda: standard.decode("t", fast.encode(document)).result)
    assert expected == outcome(lambda: fast.decode("t", fast.encode(document)).result)


@given(text=st.text() | VALUES.map(lambda value: json.dumps(value, default=str)))
@example(text="1e400")
@example(text="-0")
@example(text="[18446744073709551616]")
@example(text='{"a": -9223372036854775809}')
@example(text='"\\ud800"')
@example(text="[" * 5000 + "]" * 5000)
@example(text=" [NaN] ")
@example(text="\ufeff{}")
def test_both_read_the_same(text):
    """
    Whatever stands in a store, both engines read the same value or find the same fault.
    """
    data = text.encode("utf-8", "surrogatepass")

    def read(engine, data):
        try:
            return repr(engine.decode(data))
        except (ValueError, RecursionError) as error:
            return f"{type(error)}: {error}"

    for long in (data + b" " * 1000, b"[%b,%b]" % (data, b"0," * 500 + b"0")):
        assert read(StandardText(), long) == read(FastText(orjson), long)


def test_large_values_are_written_by_orjson():
    """
    Without its white space, but with a head that readers know at a glance; text alone stays ASCII.
    """
    fast = codec(FastText(orjson))
    document = {"status": "SUCCESS", "result": [1, 2, "\u00e9" * 1000]}

    assert fast.encode(document).startswith(b'{"status": "SUCCESS","result":[1,2,"\xc3\xa9')
    assert fast.encode_value("result", document["result"]).isascii()


def test_many_lists_that_end_at_one_place():
    """
    Deep values never get to orjson: some versions write past the end of their memory.
    """
    value = 0
    for _ in range(150):
        value = [value, *range(20)]
    standard, fast = (codec(text) for text in (StandardText(), FastText(orjson)))
    document = new_document("t", "SUCCESS", value)

    assert standard.encode(document) == fast.encode(document)
