"""
The pages on types and records say what is so.
"""

import dataclasses
import enum
import math
import re
import sys
import threading
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from coatcheck._coding import codec, compression, jsontags, limits, readers
from coatcheck._coding.codec import Codec
from coatcheck._embedded.files import FilesBackend
from coatcheck._embedded.sqlite import SQLiteBackend
from coatcheck._record import documents
from coatcheck._record.describing import MAX_DEPTH, MAX_NODES
from coatcheck._record.texts import MAX_TEXT, safe_repr
from coatcheck.errors import DecodeError, EncodeError

PAGES = Path(__file__).parents[2] / "docs" / "reference"
TYPES = (PAGES / "types.md").read_text(encoding="utf-8")
RECORDS = (PAGES / "records.md").read_text(encoding="utf-8")


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Pair:
    one: int
    other: int


Point = namedtuple("Point", "x y")
NAMES = {
    "Berlin": ZoneInfo("Europe/Berlin"),
    "Color": Color,
    "Decimal": Decimal,
    "Level": Level,
    "Lock": threading.Lock,
    "OrderedDict": OrderedDict,
    "Pair": Pair,
    "Point": Point,
    "UTC": UTC,
    "UUID": UUID,
    "date": date,
    "datetime": datetime,
    "time": time,
    "timedelta": timedelta,
}


def table(page, first):
    """
    Return the cells of the table whose first heading is *first*.
    """
    lines = page[page.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


(_, *COLUMNS), _, *ROWS = table(TYPES, "value")
CELLS = [
    pytest.param(re.search("`(.*)`", row[0])[1], column, cell, id=f"{row[0]} {column}")
    for row in ROWS
    for column, cell in zip(COLUMNS, row[1:], strict=True)
]


def same(one, other):
    """
    Whether both are of the same types all through, and equal; not-a-numbers are.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (dict, set, frozenset)):
        return one == other and {*map(type, one)} == {*map(type, other)}
    if isinstance(one, ValueError):
        return one.args == other.args
    if isinstance(one, (datetime, time)) and type(one.tzinfo) is not type(other.tzinfo):
        return False
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


def as_lists(value):
    """
    Return *value* with lists in place of tuples.
    """
    return [*map(as_lists, value)] if isinstance(value, tuple) else value


def test_the_table_of_types_is_whole():
    """
    Each serializer has its columns, and each row a cell for each.
    """
    assert ["json", "json, strict", "msgpack", "msgpack, strict", "pickle"] == COLUMNS
    assert len(ROWS) > 30
    assert {"same", "list", "offset", "refused"} == {cell for row in ROWS for cell in row[1:]}


@pytest.mark.parametrize(("expression", "column", "cell"), CELLS)
def test_the_table_of_types(expression, column, cell):
    """
    What the table says of a value is what becomes of it.
    """
    value = eval(expression, dict(NAMES))
    serializer, _, strict = column.partition(", ")
    both = Codec(serializer, accept=[serializer], strict=bool(strict), unsafe_pickle=True)
    document = {"status": "SUCCESS", "result": value}
    if cell == "refused":
        with pytest.raises(EncodeError, match=f"^the serializer '{serializer}' cannot keep result"):
            both.encode(document)
        return

    back = both.decode("t", both.encode(document)).result

    if cell == "list":
        assert same(as_lists(value), back)
    elif cell == "offset":
        assert value == back
        assert timezone is type(back.tzinfo)
    else:
        assert same(value, back)


def test_the_table_of_keys():
    """
    The keys of a record are those of the table, in its order.
    """
    fields = dict.fromkeys(documents.AllFields.__annotations__, "x")
    document = documents.new_document(
        "t",
        "SUCCESS",
        1,
        failure={},
        expires=1,
        fields={**fields, "date_started": datetime.now(UTC)},
    )

    rows = table(RECORDS, "key")[2:]

    assert [*document] == [key.strip("`") for key, _, _ in rows]
    bare = [key for key, by, _ in rows if by in ("always", "coatcheck")]
    assert {*documents.new_document("t", "SUCCESS", 1)} <= {key.strip("`") for key in bare}


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        ("a compressed record after decompression: `max_inflated`", compression.MAX_INFLATED),
        ("the values in a record: `max_values`", limits.MAX_VALUES),
        ("how deep a value may be nested", jsontags.MAX_DEPTH),
        ("memory to inflate lzma", compression._LZMA_MEMORY),
        ("an integer in JSON, read and written", sys.get_int_max_str_digits()),
        ("an integer in msgpack", 64),
        ("exceptions in one failure: causes, contexts and members", MAX_NODES),
        ("how deep they are nested", MAX_DEPTH),
        ("a message, or a traceback: the middle is left out", MAX_TEXT),
        ("the `repr` of an argument that cannot be kept", safe_repr.__defaults__[0]),
        ("a record in SQLite", SQLiteBackend.max_value_bytes),
        ("a record in a directory", FilesBackend.max_value_bytes),
    ],
)
def test_the_table_of_limits(what, limit):
    """
    Each limit is the one in force.
    """
    rows = dict(table(RECORDS, "limit of")[2:])

    assert str(limit) == rows[what].split()[0]


def test_the_first_bytes():
    """
    The marks of the page are those that are looked for.
    """
    assert b"\x00celery-compressed\x00" == compression.MARKER
    assert b"\xc1COAT" == codec.ENVELOPE_MAGIC
    assert f"first {readers.HEAD} bytes" in RECORDS
    assert ("json", "msgpack") == codec.DEFAULT_ACCEPT


def test_integers_of_too_many_digits_are_refused_both_ways():
    """
    An integer over the limit is neither written nor read in JSON; the state stays readable.
    """
    with pytest.raises(EncodeError, match="4300"):
        Codec().encode({"status": "SUCCESS", "result": 10**4300})
    found = Codec().decode("t", b'{"status": "SUCCESS", "result": ' + b"1" * 4301 + b"}")
    assert "SUCCESS" == found.status
    with pytest.raises(DecodeError, match="4300"):
        _ = found.result
