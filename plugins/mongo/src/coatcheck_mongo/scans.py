"""
The queries of a scan, which ask for ids. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from coatcheck.plugin import PENDING, READY_STATES, Query, Tally

from .commands import IS_ALIVE, find_ids
from .requests import Command, Document, Find

#: How many records one query without an index goes through: the rest may have no match.
WINDOW: Final = 10_000
_IN_ORDER: Final = [("_id", 1)]


def is_indexed(query: Query) -> bool:
    """Return whether an index serves the conditions of *query*."""
    return query.name is query.worker is query.group is None


def find_end(name: str, query: Query, after: str | None) -> Find:
    """Return the query for the last of the next `WINDOW` ids, if there are as many."""
    wanted = {"_id": _start(query, after)}
    found = find_ids(name, wanted, sort=_IN_ORDER, skip=WINDOW - 1, limit=1)
    return found._replace(primary=False)


def find_page(name: str, query: Query, after: str | None, end: str | None) -> Find:
    """
    Return the query for the next ids that may match, up to *end*, in their order, which changes of state keep.
    """
    ids = _start(query, after) | ({} if end is None else {"$lte": end})
    wanted = {"_id": ids, **IS_ALIVE, "$and": _conditions(query)}
    if not wanted["$and"]:
        del wanted["$and"]
    return find_ids(name, wanted, sort=_IN_ORDER)._replace(primary=False)


def _start(query: Query, after: str | None) -> dict[str, str]:
    return {"$gte": query.prefix} | ({} if after is None else {"$gt": after})


def _conditions(query: Query) -> list[Document]:
    """Return conditions that all matching documents meet, and some others."""
    found: list[Document] = []
    # A record whose state is not text reads as PENDING.
    if query.state is not None and query.state != PENDING:
        found.append({"status": query.state})
    dates = {"$gte": query.since, "$lte": query.before}
    dates = {sign: date for sign, date in dates.items() if date is not None}
    if dates:
        ready: Document = {"status": {"$in": sorted(READY_STATES)}}
        # Other programs may store text.
        found += [ready, {"$or": [{"date_done": dates}, {"date_done": {"$type": "string"}}]}]
    words = {"name": query.name, "worker": query.worker, "group_id": query.group}
    found += [_word(field, word) for field, word in words.items() if word is not None]
    return found


def _word(field: str, word: str) -> Document:
    # In a sealed record it is in the envelope, and one that is no Unicode is encoded.
    sealed = {field: None, "result": {"$type": "binData"}}
    return {"$or": [{field: word}, sealed, {"encoded": field}]}


def tally(name: str, moments: Sequence[datetime]) -> Command:
    """Return the count of the records by state and age, see `coatcheck.Backend.tally`."""
    is_text = {"$eq": [{"$type": "$status"}, "string"]}
    at = {"$ifNull": [_date("$date_done"), _date("$date_started")]}
    steps = [{"case": {"$gt": ["$at", moment]}, "then": n} for n, moment in enumerate(moments)]
    undated = {"case": {"$eq": ["$at", None]}, "then": None}
    age = {"$switch": {"branches": [undated, *steps], "default": len(moments)}}
    pipeline = [
        {"$match": IS_ALIVE},
        {"$project": {"state": {"$cond": [is_text, "$status", PENDING]}, "at": at}},
        {"$group": {"_id": {"state": "$state", "age": age}, "number": {"$sum": 1}}},
    ]
    # All in one reply: there are few states.
    command = {"aggregate": name, "pipeline": pipeline, "cursor": {"batchSize": 100_000}}
    return Command(name, command, writing=False, primary=False)


def _date(field: str) -> Document:
    return {"$convert": {"input": field, "to": "date", "onError": None, "onNull": None}}


def counted(reply: Document) -> Tally:
    """Return the numbers in the reply to `tally`."""
    found = reply["cursor"]["firstBatch"]
    return {(row["_id"]["state"], row["_id"]["age"]): row["number"] for row in found}
