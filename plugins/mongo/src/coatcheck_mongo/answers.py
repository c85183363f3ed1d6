"""
What the server's answers mean. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure, WriteConcernError
from pymongo.results import BulkWriteResult

from coatcheck.plugin import ResultMeta, Unless

from . import commands
from .clock import ServerClock
from .errors import DUPLICATE
from .records import Record

#: Largest document that the server takes, less what the command around it may need.
MAX_VALUE_BYTES: Final = 16 * 1024 * 1024 - 16 * 1024


def has_won(reply: Mapping[str, Any]) -> bool:
    """
    Whether an update put a record into the store. Raises what went wrong in it.
    """
    failed = reply.get("writeErrors")
    if failed:
        raise OperationFailure(failed[0].get("errmsg", ""), failed[0].get("code"), failed[0])
    _check_concern(reply)
    return bool(reply["nModified"]) or "upserted" in reply


def is_new(reply: Mapping[str, Any]) -> bool:
    """
    Whether a record was inserted. Raises if it may not stay.
    """
    if "writeErrors" in reply:
        return False
    _check_concern(reply)
    return True


def _check_concern(reply: Mapping[str, Any]) -> None:
    concern = reply.get("writeConcernError")
    if concern:
        raise WriteConcernError(concern.get("errmsg", ""), concern.get("code"), concern)


def split(metas: Iterable[ResultMeta]) -> tuple[dict[str, ResultMeta], list[ResultMeta]]:
    """
    Return the first record for each id, and those that come later for the same one.
    """
    first: dict[str, ResultMeta] = {}
    later = [m for m in metas if first.setdefault(m.task_id, m) is not m]
    return first, later


def updates(records: Iterable[Record], unless: Unless, expires: float | None) -> list[UpdateOne]:
    """
    Return the updates that store *records*.
    """
    return [
        UpdateOne({"_id": r.task_id}, commands.store(r.body, unless, expires), upsert=True)
        for r in records
    ]


def unsettled(result: BulkWriteResult, records: Sequence[Record]) -> list[Record]:
    """
    Return those of *records* of which the answer does not say that they were stored.
    """
    if result.modified_count == result.matched_count:
        return []
    upserted = result.upserted_ids or {}
    return [record for number, record in enumerate(records) if number not in upserted]


def own(records: Iterable[Record]) -> dict[str, Any]:
    """
    Return the filter of those of *records* that are in the store.
    """
    written = {record.task_id: record.write_id for record in records}
    same = {"$in": list(written.values())}
    return {"_id": {"$in": list(written)}, "write_id": same}


def met(error: BulkWriteError, records: Sequence[Record]) -> list[Record]:
    """
    Return those of *records* that met another upsert of their id. Raises what else went wrong.
    """
    details: Any = error.details
    failed = details.get("writeErrors", [])
    other = [e for e in failed if e.get("code") != DUPLICATE]
    if other:
        raise OperationFailure(other[0].get("errmsg", ""), other[0].get("code"), other[0])
    concerns = details.get("writeConcernErrors", [])
    if concerns:
        raise WriteConcernError(concerns[0].get("errmsg", ""), concerns[0].get("code"), concerns[0])
    return [records[e["index"]] for e in failed]


def living(
    found: Iterable[dict[str, Any]], clock: ServerClock
) -> tuple[list[dict[str, Any]], list[str]]:
    """
    Return the documents that surely live, and the ids of those of which the server has to say so.
    """
    sure, doubtful = [], []
    for document in found:
        if clock.surely_lives(document.get("expires_at")):
            sure.append(document)
        else:
            doubtful.append(document["_id"])
    return sure, doubtful
