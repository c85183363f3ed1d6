"""
The query of a request for several tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from starlette.exceptions import HTTPException

_TEXTS: Final = ("state", "name", "worker", "group", "prefix")
_TIMES: Final = ("since", "before")
#: The most tasks on a page.
_MOST: Final = 1000


def page_options(query: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the arguments of `Results.page`, which checks the order. Raises 400 for an unknown parameter, or one that
    cannot be read.
    """
    known = {*_TEXTS, *_TIMES, "sort", "limit", "after"}
    if unknown := sorted(set(query) - known):
        raise HTTPException(
            400, f"unknown parameter {unknown[0]!r}: use {', '.join(sorted(known))}"
        )
    texts: dict[str, Any] = {name: query[name] for name in (*_TEXTS, "after") if name in query}
    times = {name: _moment(name, query[name]) for name in _TIMES if name in query}
    limit = _limit(query.get("limit", "100"))
    return {"sort": query.get("sort", "newest"), "limit": limit, **texts, **times}


def _limit(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) <= _MOST):
        raise HTTPException(400, f"limit={text!r}: use a number from 1 to {_MOST}")
    return int(text)


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise HTTPException(400, f"{name}={text!r}: use a time such as 2026-01-31T12:00:00Z")
    return moment
