"""
Records for people and for programs: as JSON, as one line.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from .._record.plain import jsonable
from .._record.texts import safe_repr
from .text import harmless_json, one_line

if TYPE_CHECKING:
    from .._record.meta import ResultMeta

_PREVIEW: Final = 200


# -- for programs ---------------------------------------------------------------------------


def as_json(meta: ResultMeta) -> str:
    """Return the record as one JSON object on one line."""
    return json.dumps(meta.as_json(), allow_nan=False)


# -- for people -----------------------------------------------------------------------------


def pretty(value: Any) -> str:
    """
    Return *value* over as many lines as it takes: text as it is, JSON where JSON can hold it,
    else Python's notation.
    """
    if isinstance(value, str):
        return value
    from pprint import pformat

    try:
        if jsonable(value) == value:
            return harmless_json(json.dumps(value, indent=2, ensure_ascii=False))
        return pformat(value, width=100, sort_dicts=False)
    except RecursionError:
        return safe_repr(value)


def progress_of(meta: ResultMeta) -> tuple[float, float | None] | None:
    """Return how far an unready task is, and of how much, where it says so."""
    if meta.ready or meta.error is not None:
        return None
    return progress_in(meta.result)


def progress_in(info: object) -> tuple[float, float | None] | None:
    """Return how far a task is, and of how much, where its *info* says so."""
    if not isinstance(info, dict):
        return None
    current, total = (_number(info.get(key)) for key in ("current", "total"))
    if current is None:
        return None
    return current, total if total is not None and total > 0 else None


def _number(value: Any) -> float | None:
    valid = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if valid and math.isfinite(value) and value >= 0 else None


def progress_text(progress: tuple[float, float | None]) -> str:
    """Return progress as text, such as "37/100 (37 %)"."""
    current, total = progress
    if total is None:
        return f"{current:g}"
    percent = f"{min(current / total, 1):.0%}"
    return percent if total == 100 else f"{current:.10g}/{total:.10g} ({percent})"


def state_of(meta: ResultMeta) -> str:
    """Return the state as shown: a question mark where it cannot be read."""
    return one_line(meta.status) if "status" in meta.document else "?"


def summary(meta: ResultMeta) -> str:
    """Return the value, the failure, or the progress of a record, in one line."""
    if meta.error is not None:
        return one_line(str(meta.error), _PREVIEW)
    failure = meta.failure
    if failure is not None:
        name = failure.name.rpartition(".")[2]
        return one_line(f"{name}: {failure.message}" if failure.message else name, _PREVIEW)
    progress = progress_of(meta)
    if progress is not None:
        return progress_text(progress)
    if not meta.ready:
        return ""
    return preview(meta.result)


def preview(value: Any) -> str:
    """Return the beginning of *value* in one line."""
    return one_line(_short(value), _PREVIEW)


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value[: 2 * _PREVIEW]
    if is_command_result(value):
        lines = [line for line in value["stdout"].splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {value['exit_status']}"
    from reprlib import Repr

    short = Repr()
    short.maxstring = short.maxother = 60
    return short.repr(value)


def is_command_result(value: Any) -> bool:
    """
    Return whether *value* is a result that `coatcheck run` stores for a command that succeeded.
    """
    return (
        isinstance(value, dict) and isinstance(value.get("stdout"), str) and "exit_status" in value
    )
