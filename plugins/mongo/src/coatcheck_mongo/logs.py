"""
The log of a task: the field `log` of its record. No I/O.

`log` has the number of the last event in `last`, and the newest ones in `events`, each as its data `d` and the
size `s` of all events up to it. So one update stores a record and its events, and both end together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from coatcheck.plugin import LOG_BYTES, LOG_EVENTS, Log

from .requests import Command, Document

#: What reads of records leave out.
WITHOUT: Final = {"log": 0}
IS_THERE: Final = {"$eq": [{"$type": "$log.last"}, "int"]}
#: The largest number that the server compares as an `int`.
_MOST: Final = 2**31 - 1


def kept(expired: Document, *, events: bool) -> Document:
    """
    Return the expression of the log that a record keeps which replaces another. Without *events*, which would
    make the document too large, they count as dropped.
    """
    log: Any = "$log" if events else {"last": "$log.last", "events": []}
    return {"$cond": [{"$and": [IS_THERE, {"$not": [expired]}]}, log, "$$REMOVE"]}


def appended(expired: Document, events: Sequence[bytes]) -> Document:
    """Return the expression of the log after *events* were appended."""
    empty = {"last": 0, "events": []}
    old = {"$cond": [{"$and": [IS_THERE, {"$not": [expired]}]}, "$log", {"$literal": empty}]}
    size = {"$ifNull": [{"$arrayElemAt": ["$$old.events.s", -1]}, 0]}
    sizes = accumulate(map(len, events))
    new = {"$literal": [{"d": e, "s": s} for e, s in zip(events, sizes, strict=True)]}
    moved = {"$map": {"input": new, "in": {"d": "$$this.d", "s": {"$add": ["$$this.s", size]}}}}
    both = {"$slice": [{"$concatArrays": ["$$old.events", moved]}, -LOG_EVENTS]}
    total = {"$add": [size, sum(map(len, events))]}
    from_here = {"$add": [{"$subtract": [total, "$$this.s"]}, {"$binarySize": "$$this.d"}]}
    bounded = {"$filter": {"input": both, "as": "this", "cond": {"$lte": [from_here, LOG_BYTES]}}}
    last = {"$add": ["$$old.last", len(events)]}
    return {"$let": {"vars": {"old": old}, "in": {"last": last, "events": bounded}}}


def read(name: str, id_: str, after: int, alive: Document) -> Command:
    """Return the command that reads the events after the number *after*."""
    after = min(after, _MOST)
    new = {"$slice": ["$log.events.d", {"$subtract": [after, "$log.last"]}]}
    fields = {"last": "$log.last", "events": {"$cond": [{"$gt": ["$log.last", after]}, new, []]}}
    stages = [{"$match": {"_id": id_, "log.last": {"$type": "int"}, **alive}}, {"$project": fields}]
    return Command(name, {"aggregate": name, "pipeline": stages, "cursor": {}}, writing=False)


def log_in(reply: Mapping[str, Any]) -> Log:
    """Return the log in the reply to `read`."""
    found = reply["cursor"]["firstBatch"]
    return Log(list(map(bytes, found[0]["events"])), found[0]["last"]) if found else Log()


def number_in(reply: Mapping[str, Any], write_id: str | None) -> int | None:
    """Return the number of the last event in the reply to an append; `None` if it was refused."""
    value = reply["value"]
    if not value or "log" not in value or value.get("write_id") != write_id:
        return None
    return int(value["log"]["last"])
