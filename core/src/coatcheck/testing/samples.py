"""
The contract's data: values of every kind, ids of any shape, damaged records.
"""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

PLAIN: Final[list[Any]] = [
    None, 0, -1, 2**63 - 1, 1.5, float("inf"), True, False, "", "text", "snow ☃ and 🎉", "\x00",
    [], {}, [1, [2, [3]]], {"a": {"b": None}}, "x" * 100_000, {"": ""}, ["status", "SUCCESS"],
    {"status": "FAILURE"}, b"", b"\xff\x00",
]  # fmt: skip
#: What JSON keeps by a tag.
TAGGED: Final[list[Any]] = [
    2**70, {1: "one"}, {"x": {1, 2}}, frozenset({"a"}), timedelta(days=31), 1 + 2j, Decimal("0.10"),
    UUID(int=7), datetime(2026, 11, 5, 12, tzinfo=UTC), date(2026, 11, 5), time(12, 30),
    {"__type__": "datetime", "__value__": "no date"},
]  # fmt: skip
#: Only pickle keeps these.
PICKLED: Final[list[Any]] = [(1, (2,)), range(3), bytearray(b"\x00")]

#: Serializer and value, for all that it keeps.
VALUES: Final[list[tuple[str, Any]]] = [
    *(("json", value) for value in PLAIN + TAGGED),
    *(("msgpack", value) for value in PLAIN),
    *(("pickle", value) for value in PLAIN + TAGGED + PICKLED),
]

IDS: Final[list[str]] = [
    "plain", "with space", " ", "x" * 500, "☃" * 500, "emoji 🎉", "line\nbreak", "tab\tand\x01control",
    "celery-task-meta-nested", "taskiq:nested", "rq:job:nested", "a/b/../c", "..", ".", "/", "*?[x]",
    "'quoted\"", "%s%d", "%2F", "{tag}", "a:b", "a\\b", "CaSe", "case", "\u00e9", "e\u0301",
    "trailing", "trailing ", "x" * 500 + "y",
]  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """A record as somebody else may have put it into a store."""

    #: As a store of bytes has it.
    record: bytes
    #: As a store of fields has it, but for the id: `result` is encoded, text or bytes.
    fields: Mapping[str, Any]

    @classmethod
    def json(cls, record: bytes) -> Planted:
        """Return a record that is sound JSON."""
        fields = json.loads(record)
        fields.pop("task_id", None)
        return cls(record, {**fields, "result": json.dumps(fields["result"])})


def _in_celerys_marker(body: bytes) -> bytes:
    return b"\x00celery-compressed\x00application/x-gzip\x00" + zlib.compress(body)


#: Records that no reader can make all of, by the id to store them under.
DAMAGED: Final[dict[str, Planted]] = {
    "newer": Planted.json(b'{"status": "SUCCESS", "result": 1, "v": 2, "task_id": "newer"}'),
    "pickled": Planted(
        pickle.dumps({"status": "SUCCESS", "result": 1}, protocol=4),
        {"status": "SUCCESS", "result": pickle.dumps(1, protocol=4)},
    ),
    "cut": Planted(
        b'{"status": "SUCCESS", "result": [1, 2', {"status": "SUCCESS", "result": "[1, 2"}
    ),
    "no-state": Planted.json(b'{"result": [1, 2]}'),
    "noise": Planted(b"\xff\xfe\x00noise", {"status": b"\xff\xfe\x00noise"}),
    "envelope": Planted(b"\xc1COAT\x01rest", {"result": b"\xc1COAT\x01rest"}),
    "list": Planted(b"[1, 2]", {"status": ["SUCCESS"], "result": "[1, 2]"}),
    "tag": Planted.json(b'{"status": "SUCCESS", "result": {"__type__": "date", "__value__": "x"}}'),
    "inflating": Planted(
        b"\x00celery-compressed\x00application/x-gzip\x00cut",
        {"status": None, "result": b"\x00celery-compressed\x00application/x-gzip\x00cut"},
    ),
    "one-byte": Planted(b"{", {}),
    "millions": Planted(
        _in_celerys_marker(b'{"status": "SUCCESS", "result": [' + b"[]," * 2**21 + b"0]}"),
        {"status": "SUCCESS", "result": _in_celerys_marker(b"[" + b"[]," * 2**21 + b"0]")},
    ),
    # All of them have the same hash.
    "alike": Planted.json(
        b'{"status": "SUCCESS", "result": {"__type__": "set", "__coatcheck__": 1, "__value__": ['
        + b",".join(b"%d" % (number * (2**61 - 1)) for number in range(2_000))
        + b"]}}"
    ),
}
#: Those of them whose state can be read.
READABLE: Final = frozenset({"newer", "pickled", "cut", "tag", "millions", "alike"})

#: Options that sign and compress records of any size, in envelopes.
SEALED: Final[dict[str, Any]] = {
    "signing_keys": {"one": "a secret of the tests, of 32 bytes"},
    "compression": "zlib",
    "compress_over": 0,
}
#: Those of a reader that has another secret.
SEALED_OTHERWISE: Final[dict[str, Any]] = {
    **SEALED,
    "signing_keys": {"one": "another secret, that is also long"},
}
#: Options that hide a record's state from its first bytes.
HIDDEN: Final[dict[str, Any]] = {"compression": "celery", "compress_over": 0}

#: A pickle that leaves a mark where it is loaded.
MARKS: Final[list[str]] = []


def leave_mark() -> str:
    """Leave a mark if the pickle below is loaded."""
    MARKS.append("called")
    return "SUCCESS"


class _Calls:
    def __reduce__(self) -> tuple[Any, ...]:
        return leave_mark, ()


BOMB: Final = Planted(
    pickle.dumps({"status": "SUCCESS", "result": _Calls()}, protocol=4),
    {"status": "SUCCESS", "result": pickle.dumps(_Calls(), protocol=4)},
)
#: Names a class as the failure's type that must not be looked up, let alone called.
NAMES_A_CALL: Final = (
    b'{"status": "FAILURE", "result": {"exc_type": "leave_mark", "exc_message": ["x"], '
    b'"exc_module": "coatcheck.testing.samples"}, "traceback": null, "task_id": "t"}'
)
