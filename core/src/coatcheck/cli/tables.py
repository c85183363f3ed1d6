"""
Records as the rows of a table, for terminals of any width.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from .show import colour_of
from .text import one_line, printable, span

if TYPE_CHECKING:
    from rich.console import Console

    from .._record.meta import ResultMeta

HEADERS: Final = ("STATE", "TASK ID", "NAME", "AGE", "TOOK", "RESULT")
_NUMBERS: Final = ("AGE", "TOOK")
_WIDEST: Final = {"STATE": 12, "TASK ID": 48, "NAME": 20}
#: In terminals with fewer columns, this column is left out.
_DROPPED: Final = ((100, "TOOK"), (90, "NAME"))
_GAP: Final = 2
#: With fewer columns for the last one, each task gets lines of its own.
_NARROWEST: Final = 12


def row_of(meta: ResultMeta) -> tuple[str, ...]:
    """Return the cells of a record's row, without control characters."""
    from .render import state_of, summary

    moment, started = meta.date_done or meta.date_started, meta.date_started
    now = datetime.now(UTC)
    took = "" if started is None else span(((meta.date_done or now) - started).total_seconds())
    return (
        state_of(meta),
        printable(meta.task_id),
        one_line(meta.name or ""),
        "" if moment is None else span((now - moment).total_seconds()),
        took,
        summary(meta),
    )


def print_table(metas: Sequence[ResultMeta], rest: str) -> None:
    """Print a table of *metas*, and below it the text *rest*."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    rows, widths = _fit([HEADERS, *map(row_of, metas)], console.width)
    if widths[-1] < min(_NARROWEST, max(len(row[-1]) for row in rows)):
        _print_stacked(metas, rest, console)
        return
    table = Table(
        box=box.SIMPLE_HEAD,
        header_style="bold",
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),  # and one for the line between
    )
    for title, width in zip(rows[0], widths, strict=True):
        table.add_column(
            title,
            width=width,
            justify="right" if title in _NUMBERS else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows[1:]:
        state, *cells = (Text(cell, overflow="ellipsis", no_wrap=True) for cell in row)
        state.stylize(colour_of(state.plain))
        if state.plain in {"FAILURE", "?"}:
            cells[-1].stylize("red")
        table.add_row(state, *cells)
    table.caption = rest or None
    console.print(table)


def _print_stacked(metas: Sequence[ResultMeta], rest: str, console: Console) -> None:
    """
    Print a few lines for each task: state and age, the id, and the result, broken between words.
    """
    from rich.padding import Padding
    from rich.text import Text

    for row in map(row_of, metas):
        state, task_id, _, age, _, result = row
        console.print(Text.assemble((state, colour_of(state)), f"  {age}" if age else ""))
        for text in (task_id, result):
            if text:
                console.print(Padding(Text(text, overflow="fold"), (0, 0, 0, 2)))
    if rest:
        console.print(Text(rest, style="italic"))


def _fit(rows: list[tuple[str, ...]], width: int) -> tuple[list[tuple[str, ...]], list[int]]:
    """
    Return *rows* and the widths of their columns. Ids stay whole; the last column gets the remaining
    width; if that is too narrow, other columns are left out.
    """
    from rich.cells import cell_len

    for narrow, dropped in _DROPPED:
        if width < narrow:
            at = rows[0].index(dropped)
            rows = [row[:at] + row[at + 1 :] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    widths = [min(w, _WIDEST.get(title, w)) for title, w in zip(rows[0], widths, strict=True)]
    left = width - sum(widths[:-1]) - _GAP * (len(widths) - 1)
    return rows, [*widths[:-1], min(widths[-1], left)]
