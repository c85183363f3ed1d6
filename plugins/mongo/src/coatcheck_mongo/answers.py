"""
The meaning of the server's replies. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure, WriteConcernError

from coatcheck.plugin import ResultMeta

from .clock import ServerClock
from .errors import DUPLICATE
from .records import Record

Reply = Mapping[str, Any]


def check(reply: Reply) -> None:
    """Raise the first error of a write, if it had one."""
    errors = reply.get("writeErrors")
    if errors:
        raise OperationFailure(errors[0].get("errmsg", ""), errors[0].get("code"), errors[0])
    concern = reply.get("writeConcernError")
    if concern:
        raise WriteConcernError(concern.get("errmsg", ""), concern.get("code"), concern)


def has_won(reply: Reply) -> bool:
    """Return whether an update stored its record. Raises its error."""
    check(reply)
    return bool(reply["nModified"]) or "upserted" in reply


def is_new(reply: Reply) -> bool:
    """
    Return whether a record was inserted; if not, an update must find out why. Raises if it may not stay.
    """
    if "writeErrors" in reply:
        return False
    check(reply)
    return True


def collided(reply: Reply, records: Sequence[Record]) -> list[Record]:
    """Return the *records* that met another upsert of their id. Raises other errors."""
    errors = reply.get("writeErrors", ())
    check({**reply, "writeErrors": [e for e in errors if e.get("code") != DUPLICATE]})
    return [records[error["index"]] for error in errors]


def unsettled(reply: Reply, records: Sequence[Record]) -> list[Record]:
    """
    Return the *records* that may not have been stored, as far as the reply to their update tells.
    """
    upserted = {item["index"] for item in reply.get("upserted", ())}
    if reply["nModified"] + len(upserted) == len(records):
        return []
    return [record for index, record in enumerate(records) if index not in upserted]


def split(metas: Iterable[ResultMeta]) -> tuple[dict[str, ResultMeta], list[ResultMeta]]:
    """Return the first record for each id, and all later ones."""
    first: dict[str, ResultMeta] = {}
    later = [m for m in metas if first.setdefault(m.task_id, m) is not m]
    return first, later


def living(
    found: Iterable[dict[str, Any]], clock: ServerClock
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the documents that surely live, and the ids of those that may have expired."""
    sure, doubtful = [], []
    for document in found:
        if clock.surely_lives(document.get("expires_at")):
            sure.append(document)
        else:
            doubtful.append(document["_id"])
    return sure, doubtful
