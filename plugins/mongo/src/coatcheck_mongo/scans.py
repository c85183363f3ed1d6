"""
The queries of a scan, which ask for ids. No I/O.
"""

from __future__ import annotations

from typing import Final

from coatcheck.plugin import PENDING, READY_STATES, Query

from .commands import IS_ALIVE, find_ids
from .requests import Document, Find

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
