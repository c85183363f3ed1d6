"""
Options that choose records by state, name, worker, group, id and time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from . import completing

if TYPE_CHECKING:
    from .._backends.query import Moment

F = TypeVar("F", bound=Callable[..., Any])

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> Moment | None:
    """Read an age such as 90s or 3d, or a time in ISO 8601, by default in the local zone."""
    if value is None:
        return None
    age = _AGE.fullmatch(value)
    try:
        if age is not None:
            return timedelta(**{_UNITS[age[2]]: float(age[1])})
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"{value!r}: give an age such as 90s, 15m, 2h, 3d or 1w, or a time such as 2026-12-01 "
            "or 2026-12-01T10:30+01:00",
            ctx,
            param,
        ) from None


_OPTIONS: Final = (
    click.option(
        "--state",
        metavar="STATE",
        shell_complete=completing.named_states,
        help="In this state, such as FAILURE.",
    ),
    click.option("--name", metavar="NAME", help="With this name."),
    click.option("--worker", metavar="WORKER", help="Of this worker."),
    click.option("--group", metavar="ID", help="Of this group."),
    click.option("--prefix", metavar="TEXT", help="With ids that start with this."),
    click.option(
        "--since",
        metavar="TIME",
        callback=moment,
        help="Over since then: an age such as 15m, 2h or 3d, or a time such as 2026-12-01T10:30.",
    ),
    click.option("--before", metavar="TIME", callback=moment, help="Over before then."),
)
_NAMES: Final = ("state", "name", "worker", "group", "prefix", "since", "before")


def filter_options(command: F) -> F:
    """
    Add an option to *command* for each filter of `Results.scan`. It receives them as `filters`.
    """

    @wraps(command)
    def filtered(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in _NAMES}
        filters = {name: value for name, value in given.items() if value is not None}
        if "state" in filters:
            filters["state"] = filters["state"].upper()
        return command(*args, filters=filters, **options)

    for option in reversed(_OPTIONS):
        option(filtered)
    return filtered  # type: ignore[return-value]
