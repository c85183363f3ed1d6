"""
JSON's tags: what comes back as it was, what changes, and what is refused.
"""

import collections
import dataclasses
import enum
import json
import math
import re
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck._coding.codec import Codec
from coatcheck._coding.jsontags import PLAIN, TYPE, UnencodableError, revive, to_plain
from coatcheck._record.documents import new_document
from coatcheck.errors import EncodeError

OFFSETS = (
    st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23))
    .filter(lambda offset: abs(offset) >= timedelta(seconds=1))
    .map(timezone)
)
ZONES = st.none() | st.just(UTC) | OFFSETS
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**64, max_value=2**4000)
    | st.floats()
    | st.text(st.characters(codec=None))  # lone surrogates too
    | st.binary()
    | st.datetimes(timezones=ZONES, allow_imaginary=True)
    | st.dates()
    | st.times(timezones=ZONES)
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.complex_numbers()
)
HASHABLE = st.recursive(
    ATOMS.filter(lambda value: not (isinstance(value, Decimal) and value.is_snan())),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
TAG_KEYS = st.sampled_from(["__type__", "__value__", "__coatcheck__", "status"])
TAG_NAMES = st.sampled_from(["datetime", "set", "dict", "uuid", "base64", "bytes", "unknown"])
LOOKALIKES = st.dictionaries(TAG_KEYS, TAG_NAMES | ATOMS, max_size=4)
LISTS = st.recursive(
    ATOMS | LOOKALIKES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec=None)) | TAG_KEYS, inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
        | st.frozensets(HASHABLE, max_size=3)
    ),
    max_leaves=20,
)
#: The same with tuples.
VALUES = st.recursive(
    LISTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=20,
)


def through_json(value, *, strict=False):
    """
    Return *value* written as JSON and read back.
    """
    return revive(json.loads(json.dumps(to_plain(value, strict=strict)).encode("ascii").decode()))


def shape(value, *, tuples_as_lists=False):
    """
    Return *value* as text that tells types apart, and not-a-numbers not.
    """
    kind = type(value).__name__
    if isinstance(value, (list, tuple)):
        kind = "list" if tuples_as_lists else kind
        return kind, [shape(item, tuples_as_lists=tuples_as_lists) for item in value]
    if isinstance(value, (set, frozenset)):
        return kind, sorted(repr(shape(item)) for item in value)
    if isinstance(value, dict):
        pairs = [(shape(k), shape(v, tuples_as_lists=tuples_as_lists)) for k, v in value.items()]
        return kind, pairs
    return kind, repr(value).replace(", fold=1", "")


@given(VALUES)
def test_strict_changes_nothing(value):
    """
    Under strict every value comes back equal and of the same types all through.
    """
    assert shape(value) == shape(through_json(value, strict=True))


@given(VALUES)
def test_tuples_become_lists_and_nothing_else_changes(value):
    """
    By default the only change is that tuples, save in sets and keys, become lists.
    """
    expected = shape(value, tuples_as_lists=True)

    assert expected == shape(through_json(value), tuples_as_lists=True)
    assert shape(through_json(value)) == shape(through_json(through_json(value), strict=True))


@given(VALUES)
def test_values_are_not_changed_in_place(value):
    """
    Encoding leaves the value itself alone.
    """
    before = shape(value)

    to_plain(value, strict=False)

    assert before == shape(value)


def test_plain_containers_are_not_copied():
    """
    A container that needs no tags is passed on as it is.
    """
    values = [1, "a", None, True, 1.5]

    assert values is to_plain(values, strict=False)
    assert all(v is to_plain(v, strict=False) for v in [{"a": 1}, {}, []])


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (
            datetime(2026, 1, 2, tzinfo=UTC),
            {"__type__": "datetime", "__value__": "2026-01-02T00:00:00+00:00"},
        ),
        (date(2024, 2, 29), {"__type__": "date", "__value__": "2024-02-29"}),
        (time(1, 2, 3), {"__type__": "time", "__value__": "01:02:03"}),
        (Decimal("1.50"), {"__type__": "decimal", "__value__": "1.50"}),
        (UUID(int=5), {"__type__": "uuid", "__value__": {"hex": "0" * 31 + "5"}}),
        (b"text", {"__type__": "bytes", "__value__": "text"}),
        (b"\xff", {"__type__": "base64", "__value__": "/w=="}),
    ],
)
def test_tags_are_kombus_where_kombu_has_one(value, plain):
    """
    A tag that kombu has is written as kombu writes it, with two keys.
    """
    assert plain == to_plain(value, strict=False)


@pytest.mark.parametrize(
    "value",
    [
        {1},
        frozenset({1}),
        timedelta(1),
        1j,
        {1: 2},
        {"__type__": "set", "__value__": [1]},
        {"__type__": 1},
    ],
)
def test_our_own_tags_have_a_third_key(value):
    """
    What kombu lacks has three keys, which its reader leaves alone.
    """
    assert {"__type__", "__value__", "__coatcheck__"} == set(to_plain(value, strict=False))


def test_tuples_have_a_tag_under_strict_only():
    """
    A tuple is a plain list by default and has a tag under strict.
    """
    assert [1, [2]] == through_json((1, (2,)))
    assert (1, (2,)) == through_json((1, (2,)), strict=True)


@pytest.mark.parametrize(
    "stored",
    [
        {"__type__": "nosuch", "__value__": 1},
        {"__type__": "set", "__value__": [1]},
        {"__type__": "datetime", "__value__": "2026-01-02", "more": 1},
        {"__type__": "datetime", "__value__": "2026-01-02", "__coatcheck__": 1},
        {"__type__": "datetime", "__value__": "x", "__coatcheck__": 1, "more": 1},
        {"__type__": ["datetime"], "__value__": "2026-01-02"},
        {"__type__": "datetime"},
        {"__type__": None, "__value__": 1},
    ],
)
def test_unknown_tags_are_plain_dicts(stored):
    """
    What is no tag of kombu's or ours is read as it stands.
    """
    assert stored == revive(stored)


@pytest.mark.parametrize(
    "stored",
    [
        {"__type__": "datetime", "__value__": "nope"},
        {"__type__": "datetime", "__value__": 5},
        {"__type__": "uuid", "__value__": {"hex": "1"}},
        {"__type__": "set", "__value__": [[1]], "__coatcheck__": 1},
        {"__type__": "dict", "__value__": 5, "__coatcheck__": 1},
        {"__type__": "timedelta", "__value__": ["x"], "__coatcheck__": 1},
    ],
)
def test_damaged_tags_raise(stored):
    """
    A known tag with a value that cannot be raises, for the caller to report.
    """
    with pytest.raises(Exception, match=r"."):
        revive([stored])


def test_kombus_other_spellings_are_read():
    """
    A UUID by its number and a time in UTC by its letter are read as kombu reads them.
    """
    assert UUID(int=5) == revive({"__type__": "uuid", "__value__": {"int": 5}})
    assert datetime(2020, 1, 1, tzinfo=UTC) == revive(
        {"__type__": "datetime", "__value__": "2020-01-01T00:00:00Z"}
    )


class Color(enum.Enum):
    RED = 1


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


class Moment(datetime):
    pass


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        pytest.param(object(), "no tag for the type object", id="object"),
        (Color.RED, "no tag for the type"),
        (Number.ONE, "would come back as int"),
        (Text("x"), "would come back as str"),
        (Moment(2026, 1, 1), "would come back as datetime"),
        (OrderedDict(a=1), "would come back as dict"),
        (collections.Counter("a"), "would come back as dict"),
        (bytearray(b"x"), "no tag for the type bytearray"),
        pytest.param(memoryview(b"x"), "no tag", id="memoryview"),
        (range(3), "no tag for the type range"),
        (ValueError("x"), "no tag for the type ValueError"),
        (int, "no tag for the type type"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("strict", [False, True])
def test_what_would_come_back_otherwise_is_refused(value, advice, strict):
    """
    A type without a tag of its own, subclasses included, is refused with advice.
    """
    with pytest.raises(UnencodableError, match=advice):
        to_plain([{"a": value}], strict=strict)


def test_named_tuples_are_tuples_by_default_and_refused_under_strict():
    """
    A named tuple becomes a list as tuples do, and is refused where its type has to be kept.
    """
    assert [1, 2] == through_json(Point(1, 2))
    assert list is type(through_json(Point(1, 2)))
    with pytest.raises(UnencodableError, match="would come back as tuple"):
        to_plain(Point(1, 2), strict=True)
    with pytest.raises(UnencodableError, match="would come back as tuple"):
        to_plain({Point(1, 2): 3}, strict=False)


def test_zones_keep_their_offset_by_default():
    """
    A time in a named zone comes back as the same moment, with the zone's offset of that time.
    """
    moment = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))

    back = through_json(moment)

    assert moment == back
    assert timezone(timedelta(hours=2)) == back.tzinfo


def test_named_zones_are_refused_under_strict():
    """
    Under strict a zone of which only the offset would come back is refused.
    """
    moment = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))

    with pytest.raises(TypeError, match="only the offset"):
        to_plain(moment, strict=True)


def test_times_whose_zone_has_no_offset_are_refused():
    """
    A time of day in a named zone has no offset, and would silently come back without a zone.
    """
    with pytest.raises(TypeError, match="no offset"):
        to_plain(time(1, 2, tzinfo=ZoneInfo("Europe/Berlin")), strict=False)


@pytest.mark.parametrize("offset", [timedelta(microseconds=1), timedelta(microseconds=-999_999)])
def test_offsets_below_a_second_are_refused(offset):
    """
    An offset that Python would read back as UTC, which is another moment, is refused.
    """
    for moment in (datetime(2026, 1, 1, tzinfo=timezone(offset)), time(1, tzinfo=timezone(offset))):
        with pytest.raises(TypeError, match="no offset that could be kept"):
            to_plain(moment, strict=False)


def test_special_numbers_come_back():
    """
    Infinities, not-a-number, negative zero and very long integers survive.
    """
    back = through_json([math.inf, -math.inf, math.nan, -0.0, 10**4299])

    assert [math.inf, -math.inf] == back[:2]
    assert math.isnan(back[2])
    assert -1.0 == math.copysign(1.0, back[3])
    assert 10**4299 == back[4]


@given(VALUES, st.booleans())
def test_what_is_large_is_written_as_what_is_small(value, strict):
    """
    That many items stand beside a value changes nothing in how it is written, or refused.
    """
    many = [{"id": number, "size": [1, 2]} for number in range(20)]
    by_itself = json.dumps(to_plain(value, strict=strict))  # text, since nan is not nan
    in_list = to_plain([*many, value], strict=strict)
    named = {str(number): item for number, item in enumerate(many)}
    in_dict = to_plain({**named, "v": [value]}, strict=strict)

    assert by_itself == json.dumps(in_list[-1])
    assert f"[{by_itself}]" == json.dumps(in_dict["v"])
    assert (many, named) == (in_list[:-1], {name: in_dict[name] for name in named})


@pytest.mark.parametrize(
    "odd", [{1: 2}, {"__type__": 1}, enum.IntEnum("E", "A").A, (1,), OrderedDict()]
)
def test_what_is_odd_is_found_among_many(odd):
    """
    What JSON would change without a word is found at any depth of what is large.
    """
    many = [[{"a": [number]}] for number in range(50)]
    many[30][0]["a"] = [odd]

    try:
        plain = to_plain(many, strict=True)
    except UnencodableError:
        return
    assert plain != many
    assert 2 == len(plain[30][0]["a"][0].keys() & {"__type__", "__value__"})


ODD = [
    *({key: 1} for key in (1, 1.5, True, None, Text("x"), Number.ONE, Color.RED, "__type__")),
    *(Text("x"), Number.ONE, OrderedDict(a=1), (1, [2]), Point(1, 2), {1}, date(2024, 2, 29)),
]
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)
ODD_TREES = st.recursive(
    TREES | st.sampled_from(ODD),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


def is_json(value, *, strict):
    """
    Whether *value* comes back as it is, by the plain definition.
    """
    kind = type(value)
    if kind is dict:
        texts = all(type(key) is str and key != TYPE for key in value)
        return texts and all(is_json(item, strict=strict) for item in value.values())
    if kind is list or (kind is tuple and not strict):
        return all(is_json(item, strict=strict) for item in value)
    return kind in PLAIN


def kept(value, *, strict):
    """
    Whether *value* is passed on as it is, not copied, and not refused.
    """
    try:
        return to_plain(value, strict=strict) is value
    except UnencodableError:
        return False


@given(TREES, ODD_TREES, st.booleans())
def test_what_is_kept_is_what_json_keeps(tree, odd, strict):
    """
    Of many items, those and only those are passed on in which JSON would change nothing.
    """
    items = [{"id": number, "tree": tree, "size": [1, 2]} for number in range(20)]
    for value in (items, [*items, odd], {**dict.fromkeys("abcdefghijklmnop", items), "odd": odd}):
        assert is_json(value, strict=strict) == kept(value, strict=strict)


def test_a_dict_that_had_other_keys_is_kept():
    """
    It is what a dict holds that counts, not what it once held.
    """
    items = [{1: 1, "a": number} for number in range(20)]
    for item in items:
        del item[1]

    assert kept(items, strict=True)


class Thing:
    def __init__(self, size):
        self.size = size


def test_what_is_odd_is_found_in_the_dicts_of_objects():
    """
    An object's own dict is like any other, however the interpreter keeps it.
    """
    things = [vars(Thing((640, 480))) for _ in range(20)]

    assert things == through_json(things, strict=True)
    assert not kept(things, strict=True)


def test_what_is_odd_is_found_among_a_million():
    """
    However much there is, what JSON would change is found.
    """
    items = [[0] * 1000 for _ in range(1010)]
    items.append([(1,)])

    plain = to_plain(items, strict=True)

    assert items[:-1] == plain[:-1]
    assert {"__type__", "__value__", "__coatcheck__"} == set(plain[-1][0])


@pytest.mark.parametrize("times", [20, 300, 5_000])
def test_what_contains_itself_ends(times):
    """
    However often it does: it is too deep, and found to be.
    """
    value = []
    value += [value] * times + [{"again": value}] * times

    with pytest.raises(RecursionError):
        to_plain(value, strict=False)


@dataclasses.dataclass
class Report:
    rows: int


class Level(enum.Enum):
    LOW = 1


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("value", "way_out"),
    [
        (Report(1), "dataclasses.asdict(value)"),
        (Level.LOW, "value.value"),
        (Path("x"), "str(value)"),
        (object(), "convert it to plain data"),
    ],
    ids=["dataclass", "Enum", "Path", "object"],
)
def test_what_is_refused_names_a_way_out(serializer, value, way_out):
    """
    The error for a type that cannot be kept says what to store instead.
    """
    document = new_document("t", "SUCCESS", [value])

    with pytest.raises(EncodeError, match=re.escape(way_out)):
        Codec(serializer).encode(document)
