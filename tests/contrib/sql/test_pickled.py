"""
Pickles of Celery's tables: plain data is read, and what would take memory or time is refused.
"""

import pickle
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from coatcheck_sql import pickled
from coatcheck_sql.pickled import Refused

VALUES = [
    1, None, b"x" * 300, "x" * 300, 2**100, bytearray(b"ab"), {"a": [1, (2, {3}, frozenset({4}))]},
    datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.5"), UUID(int=7), OrderedDict(a=1), {1: 2, (1, 2): 3},
    [{"id": number, "x": number * 0.5} for number in range(2_000)], {2.0**70: 1, -1: 2, -2: 3},
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_plain_data_is_read(value, protocol):
    """
    What a Celery wrote comes back.
    """
    assert value == pickled.loads(pickle.dumps(value, protocol))


def shared(make):
    value = make((1,))
    for _ in range(100):
        value = make((value, value))
    return value


def around_itself():
    value = []
    value.append(value)
    return value


def body(value):
    return pickle.dumps(value, 2)[2:-1]


ALIKE = [number * (2**61 - 1) for number in range(20_000)]
ATTACKS = {
    "keys": pickle.dumps(dict.fromkeys(ALIKE[:3_000]), 4),
    "keys one by one": b"\x80\x02}" + b"".join(body(n) + b"Ns" for n in ALIKE) + b".",
    "keys at once": b"\x80\x02(" + b"".join(body(n) + b"N" for n in ALIKE) + b"d.",
    "members": b"\x80\x04\x8f(" + b"".join(map(body, ALIKE)) + b"\x90.",
    "frozen members": b"\x80\x04(" + b"".join(map(body, ALIKE)) + b"\x91.",
    "set": b"\x80\x02cbuiltins\nset\n(" + b"".join(map(body, ALIKE)) + b"l\x85R.",
    "a key of keys": b"\x80\x02}" + body(shared(tuple)) + b"Ns.",
    "lists of lists": pickle.dumps(shared(list), 4),
    "itself": pickle.dumps(around_itself(), 4),
    "lists": b"\x80\x02(" + b"]" * 1_100_000 + b"l.",
    "marks": b"\x80\x02" + b"(" * 1_100_000 + b"N.",
    "a length that is not there": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".",
    "an extension": b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_what_costs_too_much_is_refused(attack):
    """
    A pickle of few bytes takes neither gigabytes nor hours.
    """
    with pytest.raises(Refused):
        pickled.loads(attack)


def test_a_number_of_the_memo_takes_no_memory():
    """
    What is kept under a large number is kept all the same.
    """
    assert pickled.loads(b"\x80\x02Nr\xff\xff\xff\x7f.") is None
