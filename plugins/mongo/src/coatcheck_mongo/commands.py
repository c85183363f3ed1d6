"""
The words for the server: commands, queries, and the one update that elects the first ready record. No I/O.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from bson.raw_bson import RawBSONDocument

from coatcheck.plugin import ANY, BATCH, READY_STATES, Unless, wall

from . import logs
from .records import Record
from .requests import Command, Document, Find

Pipeline = list[dict[str, Any]]

#: A record that lives for more seconds than these has no date of expiry: there is no such year.
_FOR_EVER: Final = 7_000 * 365.25 * 86_400
#: Whether a record has expired by the server's clock. A value that is no date never expires.
EXPIRED: Final = {
    "$and": [
        {"$eq": [{"$type": "$expires_at"}, "date"]},
        {"$lte": ["$expires_at", "$$NOW"]},
    ]
}
#: The same as a filter that uses the index on `expires_at`.
IS_EXPIRED: Final = {"expires_at": {"$type": "date"}, "$expr": EXPIRED}
IS_ALIVE: Final = {"$expr": {"$not": [EXPIRED]}}
#: A document with a larger record has no room for the events of its log.
_LARGE: Final = 14 * 1024 * 1024
_IS_ABSENT: Final = {"$eq": [{"$type": "$status"}, "missing"]}
_EXPIRY_INDEX: Final = {"key": {"expires_at": 1}, "name": "expires_at_1", "expireAfterSeconds": 0}
_STATE_INDEX: Final = {
    "key": {"status": 1, "date_done": 1}, "name": "status_1_date_done_1"
}  # fmt: skip


def find_one(name: str, id_: str, *, primary: bool) -> Command:
    """Return the command that reads one document."""
    command = {
        "find": name, "filter": {"_id": id_}, "limit": 1, "singleBatch": True,
        "projection": logs.WITHOUT,
    }  # fmt: skip
    return Command(name, command, writing=False, primary=primary)


def find_all(name: str, query: Document, *, primary: bool) -> Find:
    """Return the query for several records."""
    return Find(name, query, primary, {"projection": logs.WITHOUT})


def find_own(name: str, records: Collection[Record]) -> Find:
    """Return the query for the write ids of those *records* that are in the store."""
    ids = [record.task_id for record in records]
    write_ids = [record.write_id for record in records]
    query = {"_id": {"$in": ids}, "write_id": {"$in": write_ids}}
    return Find(name, query, options={"projection": {"write_id": 1}})


def find_ids(name: str, query: Document, **options: Any) -> Find:
    """Return the query for the ids of a batch."""
    return Find(name, query, options={"projection": {"_id": 1}, "limit": BATCH, **options})


def find_ends(name: str, ids: Collection[str]) -> Find:
    """Return the query for the dates of expiry of a batch."""
    fields = {"expires_at": 1, "write_id": 1}
    return Find(name, {"_id": {"$in": list(ids)}}, options={"projection": fields})


def alive(ids: Collection[str]) -> dict[str, Any]:
    """Return the filter for those of *ids* whose record has not expired."""
    return {"_id": {"$in": list(ids)}, **IS_ALIVE}


def is_older(age: float) -> dict[str, Any]:
    """Return the filter for records that other programs stored more than *age* seconds ago."""
    before = datetime.fromtimestamp(wall() - age, UTC)
    ours = {"write_id": {"$exists": False}, "expires_at": {"$exists": False}}
    return {"date_done": {"$lt": before}, **ours}


def insert(name: str, record: Record) -> Command:
    """Return the command that inserts a record. It takes the server half the time of an update."""
    return Command(name, {"insert": name, "documents": [record.body]})


def update(name: str, changes: Collection[tuple[str, Pipeline]], *, upsert: bool = True) -> Command:
    """Return the command that updates documents, given as pairs of an id and a pipeline."""
    updates = [{"q": {"_id": id_}, "u": pipeline, "upsert": upsert} for id_, pipeline in changes]
    return Command(name, {"update": name, "updates": updates, "ordered": False})


def delete(name: str, query: Document) -> Command:
    """Return the command that deletes all documents that match *query*."""
    return Command(name, {"delete": name, "deletes": [{"q": query, "limit": 0}]})


def create_indexes(name: str, *, by_state: bool) -> Command:
    """Return the command that creates the indexes that a collection lacks."""
    indexes = [_EXPIRY_INDEX, _STATE_INDEX] if by_state else [_EXPIRY_INDEX]
    return Command(name, {"createIndexes": name, "indexes": indexes})


def until(expires: float | None) -> float | None:
    """Return *expires*, or `None` if no date can express it: the record is kept."""
    return None if expires is None or expires > _FOR_EVER else expires


def store(record: RawBSONDocument, unless: Unless, expires: float | None) -> Pipeline:
    """Return the update that replaces a document with *record* if *unless* allows it."""
    if not unless:
        return [{"$replaceWith": _living(record, expires, _kept(record))}]
    return [_replace_if(may_replace(unless), record, expires, _kept(record))]


def may_replace(unless: Unless) -> Document:
    """Return the condition under which the document that is there may be replaced."""
    if unless is ANY:
        return {"$or": [_IS_ABSENT, EXPIRED]}
    protected = {"$in": ["$status", {"$literal": sorted(unless)}]}
    return {"$or": [{"$not": [protected]}, EXPIRED]}


def store_over(version: Any, record: RawBSONDocument, expires: float | None) -> Pipeline:
    """Return the update that replaces exactly the record of *version* with *record*."""
    return [_replace_if(_is_same(version), record, expires, _kept(record))]


def append(
    name: str,
    record: Record,
    events: Sequence[bytes],
    unless: Unless,
    version: Any,
    expires: float | None,
) -> Command:
    """Return the command that stores *record* and appends *events* to its log, but once."""
    may = may_replace(unless) if version is None else _is_same(version)
    is_new = {"$ne": ["$write_id", {"$literal": record.write_id}]}
    other = {"$or": [is_new, {"$not": [logs.IS_THERE]}]}
    log = logs.appended(EXPIRED, events)
    update = _replace_if({"$and": [may, other]}, record.body, expires, log)
    command = {
        "findAndModify": name, "query": {"_id": record.task_id}, "update": [update],
        "upsert": version is None, "new": True, "fields": {"write_id": 1, "log.last": 1},
    }  # fmt: skip
    return Command(name, command)


def _is_same(version: Any) -> Document:
    if isinstance(version, str):
        same: Document = {"$eq": ["$write_id", {"$literal": version}]}
    else:
        same = {"$eq": ["$$ROOT", {"$literal": version}]}
    return {"$and": [same, {"$not": [EXPIRED]}]}


def _kept(record: RawBSONDocument) -> Document:
    return logs.kept(EXPIRED, events=len(record.raw) < _LARGE)


def _replace_if(
    may: Document, record: RawBSONDocument, expires: float | None, log: Document
) -> dict[str, Any]:
    return {"$replaceWith": {"$cond": [may, _living(record, expires, log), "$$ROOT"]}}


def _living(record: RawBSONDocument, expires: float | None, log: Document) -> Document:
    # As a literal: the text in a record may look like an expression.
    literal, seconds = {"$literal": record}, until(expires)
    if seconds is None:
        return {"$mergeObjects": [literal, {"log": log}]}
    # Rounded up to a millisecond: a record lives at least as long as promised.
    ends = {"$add": ["$$NOW", math.ceil(seconds * 1000)]}
    return {"$mergeObjects": [literal, {"expires_at": ends, "log": log}]}


def stream() -> Sequence[dict[str, Any]]:
    """
    Return the pipeline of the change stream: the ids and states of records that became ready.

    An update tells only the fields that it changed. A ready record over an expired one may have the same
    state, but it has another date.
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
