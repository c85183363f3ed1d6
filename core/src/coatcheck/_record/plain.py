"""
Records as plain data for JSON, and the token by which two of them are compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from .texts import safe_repr, safe_str

if TYPE_CHECKING:
    from .failures import Failure
    from .meta import ResultMeta

#: Values nested deeper are shown as their `repr`: JSON's own limit is the interpreter's stack.
_MAX_DEPTH: Final = 100
#: The keys that make a change of an unready record, as in waits for updates.
_TOLD: Final = ("status", "result", "traceback")


def token_of(meta: ResultMeta) -> str:
    """See `ResultMeta.change_token`."""
    if meta.ready and meta.write_id:
        return meta.write_id
    told = [meta.known, *(jsonable(meta.document.get(key)) for key in _TOLD)]
    return blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=12).hexdigest()


def document(meta: ResultMeta) -> dict[str, Any]:
    """See `ResultMeta.as_json`."""
    error, failure = meta.error, meta.failure
    value = meta.result if error is None and failure is None else None
    return {
        "task_id": meta.task_id,
        "status": meta.status,
        "known": meta.known,
        "result": jsonable(value),
        "failure": None if failure is None else _failure(failure),
        "error": error_text(error),
        "traceback": meta.traceback,
        "date_done": iso(meta.date_done),
        "date_started": iso(meta.date_started),
        "expires_at": iso(meta.expires_at),
        "name": meta.name,
        "worker": meta.worker,
    }


def iso(moment: datetime | None) -> str | None:
    """Return *moment* as text, if there is one."""
    return None if moment is None else moment.isoformat()


def error_text(error: BaseException | None) -> str | None:
    """Return the message of *error* on one line, if there is one."""
    return None if error is None else " ".join(safe_str(error).split())


def _failure(failure: Failure) -> dict[str, Any]:
    data: dict[str, Any] = {
        "type": failure.type_name,
        "message": failure.message,
        "args": jsonable(failure.args),
        "attributes": jsonable(failure.attributes),
        "notes": list(failure.notes),
    }
    for name in ("cause", "context"):
        nested = getattr(failure, name)
        data[name] = None if nested is None else _failure(nested)
    data["exceptions"] = [_failure(member) for member in failure.exceptions]
    return data


def jsonable(value: Any, depth: int = 0) -> Any:
    """Return *value* as data for JSON. Values of types that JSON lacks become text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        return {
            k if isinstance(k, str) else safe_repr(k): jsonable(v, depth + 1)
            for k, v in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)) and depth < _MAX_DEPTH:
        return [jsonable(item, depth + 1) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value):
        return value
    return value.isoformat() if isinstance(value, (date, time)) else safe_repr(value)
