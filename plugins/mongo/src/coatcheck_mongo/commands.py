"""
What the server is asked to do: filters, and the one update that elects the first ready record.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from bson.raw_bson import RawBSONDocument

from coatcheck.plugin import ANY, PENDING, READY_STATES, Unless, wall

Document = Mapping[str, Any]
Pipeline = list[dict[str, Any]]

#: Lives that are longer than this, in seconds, end in no year that a date has.
_FOR_EVER: Final = 7_000 * 365.25 * 86_400
#: Whether the record's time has come, by the server's clock. What is no date never comes.
EXPIRED: Final = {
    "$and": [
        {"$eq": [{"$type": "$expires_at"}, "date"]},
        {"$lte": ["$expires_at", "$$NOW"]},
    ]
}
#: The same as a filter that the index on `expires_at` serves.
IS_EXPIRED: Final = {"expires_at": {"$type": "date"}, "$expr": EXPIRED}
IS_ALIVE: Final = {"$expr": {"$not": [EXPIRED]}}
_IS_ABSENT: Final = {"$eq": [{"$type": "$status"}, "missing"]}


def is_older(age: float) -> dict[str, Any]:
    """
    Return the filter for what other programs stored more than *age* seconds ago.
    """
    before = datetime.fromtimestamp(wall() - age, UTC)
    ours = {"write_id": {"$exists": False}, "expires_at": {"$exists": False}}
    return {"date_done": {"$lt": before}, **ours}


#: By name, the indexes of both collections, and those of records alone.
EXPIRY_INDEX: Final = ("expires_at_1", [("expires_at", 1)])
STATE_INDEX: Final = ("status_1_date_done_1", [("status", 1), ("date_done", 1)])


def alive(ids: Collection[str]) -> dict[str, Any]:
    """
    Return the filter of those of *ids* whose record has not expired.
    """
    return {"_id": {"$in": list(ids)}, **IS_ALIVE}


def find_one(name: str, id_: str, concern: Document) -> dict[str, Any]:
    """
    Return the command that reads one document. As a command it takes the driver two thirds of the
    time that its cursors take.
    """
    command = {"find": name, "filter": {"_id": id_}, "limit": 1, "singleBatch": True}
    return {**command, "readConcern": concern} if concern else command


def update_one(
    name: str, id_: str, update: Pipeline, concern: Document, *, upsert: bool
) -> dict[str, Any]:
    """
    Return the command that updates one document, see `find_one`.
    """
    change = {"q": {"_id": id_}, "u": update, "upsert": upsert}
    return {"update": name, "updates": [change], "writeConcern": concern}


def insert_one(name: str, record: RawBSONDocument, concern: Document) -> dict[str, Any]:
    """
    Return the command that puts a record where there is none. It takes the server half the time of
    `update_one`.
    """
    return {"insert": name, "documents": [record], "writeConcern": concern}


def until(expires: float | None) -> float | None:
    """
    Return *expires*, or `None` where no date can say so: the record is kept.
    """
    return None if expires is None or expires > _FOR_EVER else expires


def store(record: RawBSONDocument, unless: Unless, expires: float | None) -> Pipeline:
    """
    Return the update that puts *record* in place of what may be replaced, and else changes nothing.
    """
    if unless is ANY:
        may: Document = {"$or": [_IS_ABSENT, EXPIRED]}
    elif unless:
        protected = {"$in": ["$status", {"$literal": sorted(unless)}]}
        may = {"$or": [{"$not": [protected]}, EXPIRED]}
    else:
        return [{"$replaceWith": _living(record, expires)}]
    return [_replace_if(may, record, expires)]


def store_over(version: Any, record: RawBSONDocument, expires: float | None) -> Pipeline:
    """
    Return the update that puts *record* in place of exactly the record of *version*.
    """
    if isinstance(version, str):
        same: Document = {"$eq": ["$write_id", {"$literal": version}]}
    else:
        same = {"$eq": ["$$ROOT", {"$literal": version}]}
    return [_replace_if({"$and": [same, {"$not": [EXPIRED]}]}, record, expires)]


def _replace_if(may: Document, record: RawBSONDocument, expires: float | None) -> dict[str, Any]:
    return {"$replaceWith": {"$cond": [may, _living(record, expires), "$$ROOT"]}}


def _living(record: RawBSONDocument, expires: float | None) -> Document:
    """
    Return *record* as it is, whatever looks like an expression in it, with the end of its life.
    """
    literal, seconds = {"$literal": record}, until(expires)
    if seconds is None:
        return literal
    # Up to the next millisecond: a record lives at least as long as it was to.
    ends = {"$add": ["$$NOW", math.ceil(seconds * 1000)]}
    return {"$mergeObjects": [literal, {"expires_at": ends}]}


def starting_with(start: str, *, inclusive: bool, state: str | None = None) -> dict[str, Any]:
    """
    Return the filter of ids from *start* on, of records in *state*, if one is given.
    """
    query: dict[str, Any] = {"_id": {"$gte" if inclusive else "$gt": start}, **IS_ALIVE}
    # A record whose state is no text reads as PENDING.
    if state is not None and state != PENDING:
        query["status"] = state
    return query


def stream() -> Sequence[dict[str, Any]]:
    """
    Return the pipeline of the change stream: of records that became ready the id, and the state.

    An update tells only the fields that it changed. A ready record over one that has expired may
    have the same state; it has another date.
    """
    ready = {"$in": sorted(READY_STATES)}
    changed = "updateDescription.updatedFields"
    return [
        {
            "$match": {
                "$or": [
                    {"fullDocument.status": ready},
                    {f"{changed}.status": ready},
                    {f"{changed}.date_done": {"$type": "date"}},
                ]
            }
        },
        {
            "$project": {
                "documentKey": 1,
                "status": {"$ifNull": ["$fullDocument.status", f"${changed}.status"]},
            }
        },
    ]
