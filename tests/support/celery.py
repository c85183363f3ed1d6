"""
Captured records of a real Celery: the rows, and the values of its tags.

Some rows are kept beside the tests. If the whole capture is found (in the directory that
COATCHECK_CELERY_VECTORS names, or beside the repository), all of it is read.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "tests" / "data" / "celery"
CAPTURE = Path(
    os.environ.get("COATCHECK_CELERY_VECTORS", ROOT.parent / "shared" / "celery-vectors")
)


def rows(name: str) -> Iterator[dict[str, Any]]:
    """
    Return the rows of the file *name*: of the whole capture, or those that are kept here.
    """
    whole = CAPTURE / name
    path = whole if whole.is_file() else KEPT / name
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())


def kept_rows(*names: str) -> list[dict[str, Any]]:
    """
    Return the rows of the files *names* that are kept here.
    """
    texts = [(KEPT / f"{name}.jsonl").read_text(encoding="utf-8") for name in names]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def by_id(found: Iterator[dict[str, Any]]) -> Any:
    """
    Return *found* as parameters of a test.
    """
    return pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in found])


UNTAG = {
    "$tuple": lambda value: tuple(map(untagged, value)),
    "$set": lambda value: set(map(untagged, value)),
    "$dict": lambda value: {untagged(k): untagged(v) for k, v in value},
    "$int": int,
    "$float": float,
    "$bytes": base64.b64decode,
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$timedelta": lambda value: timedelta(seconds=value),
    "$uuid": UUID,
    "$decimal": Decimal,
    "$long": lambda value: ("0123456789abcdef" * 12800)[: value["len"]],
}


def untagged(value: Any) -> Any:
    """
    Return the value that the capture's tags stand for.
    """
    if isinstance(value, list):
        return [untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if tag in UNTAG:
        return UNTAG[tag](value[tag])
    return {key: untagged(item) for key, item in value.items()}


def same(one: Any, other: Any) -> bool:
    """
    Whether both are of the same types, and equal; not-a-numbers are.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))
