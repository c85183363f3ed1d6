"""
`coatcheck get` and `coatcheck list`: stored results, for people and for programs.
"""

from __future__ import annotations

import difflib
import heapq
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from .. import states
from .._backends.backend import Capability
from . import exits
from .options import Common, common_options
from .text import harmless, is_terminal, one_line, printable, say, span

if TYPE_CHECKING:
    from rich.console import Console

    from .._record.failures import Failure
    from .._record.meta import ResultMeta

#: The colours of states; those that only some application knows are blue.
COLOURS: Final = {
    "SUCCESS": "green",
    "FAILURE": "bold red",
    "REVOKED": "magenta",
    "RETRY": "yellow",
    "STARTED": "cyan",
    "PROGRESS": "cyan",
    "RECEIVED": "bright_black",
    "PENDING": "bright_black",
    "unknown": "bright_black",
    "?": "bold red",
}
_HEADERS: Final = ("STATE", "TASK ID", "NAME", "AGE", "TOOK", "RESULT")
_NUMBERS: Final = ("AGE", "TOOK")
_WIDEST: Final = {"STATE": 12, "TASK ID": 48, "NAME": 20}
#: In terminals with fewer columns, this column is left out.
_DROPPED: Final = ((100, "TOOK"), (90, "NAME"))
_GAP: Final = 2
#: With fewer columns for the last one, each task gets lines of its own.
_NARROWEST: Final = 12
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def colour_of(state: str) -> str:
    """Return the style for *state*."""
    return COLOURS.get(state, "blue")


# -- get ------------------------------------------------------------------------------------


#: The end of the line about a task that is not ready, by the answer of `Results.check_alive`.
_ALIVE: Final = {
    True: "; its worker is alive",
    False: "; its worker is lost",
    None: "; it gives no signs of life that could be checked",
}


@click.command()
@click.argument("task_id", metavar="ID")
@click.option(
    "--check",
    is_flag=True,
    help="Make sure that the worker of a running task is alive, for up to a few heartbeats.",
)
@common_options
@click.pass_obj
def get(common: Common, task_id: str, *, check: bool) -> int:
    """
    Print the result of a task, without waiting for it.

    A value goes to stdout. Without a value, the reason goes to stderr. The exit status tells them apart:
    see coatcheck --help.

    A task whose worker was killed shows as running. --check notices that, if the task has a heartbeat,
    and records a failure.
    """
    from .render import as_json

    with common.open() as results:
        found = _ALIVE[results.check_alive(task_id)] if check else ""
        meta = results.get_task_meta(task_id)
        shared = Capability.SHARED in results.backend.capabilities
    status = exits.of_record(meta)
    if meta.error is not None:
        status = exits.ERROR
    if common.json:
        click.echo(as_json(meta))
    elif status == exits.SUCCESS:
        _print_value(meta.result)
    else:
        if not meta.known:
            found = "" if shared else f"; {common.store} is seen by one process only"
        _print_trouble(meta, found)
    return status


def _print_value(value: Any) -> None:
    from .render import pretty

    if isinstance(value, bytes) and not is_terminal(sys.stdout):
        sys.stdout.buffer.write(value)
        return
    _print_output(pretty(value), err=False)


def _print_trouble(meta: ResultMeta, more: str) -> None:
    from .render import progress_of, progress_text, state_of

    start = f"task {meta.task_id!r}"
    progress = progress_of(meta)
    if not meta.known:
        from ..errors import UnknownTaskError

        line = f"{UnknownTaskError(meta.task_id)}{more}"
    elif meta.error is not None:
        readable = "status" in meta.document
        line = f"{f'{state_of(meta)}, but ' if readable else ''}{meta.error}"
    elif meta.failure is not None and meta.ready:
        _print_failure(meta.failure)
        line = f"{start} is {meta.status}: {meta.failure.summary}"
    elif progress is not None:
        line = f"{start} is not ready: {meta.status} {progress_text(progress)}{more}"
    else:
        line = f"{start} is not ready: {meta.status}{more}"
    say(line)


def _print_failure(failure: Failure) -> None:
    for name in ("stdout", "stderr"):
        output = failure.attributes.get(name)
        if isinstance(output, str) and output:
            _print_output(output, err=name == "stderr")
    if failure.traceback:
        click.echo(harmless(failure.traceback.rstrip("\n")), err=True)
    for note in failure.notes:
        click.echo(harmless(note), err=True)


def _print_output(text: str, *, err: bool) -> None:
    # A program gets text as it was stored.
    text = harmless(text) if is_terminal(sys.stderr if err else sys.stdout) else text
    # click would leave out escape sequences.
    click.echo(text, err=err, nl=not text.endswith("\n"), color=True)


# -- list -----------------------------------------------------------------------------------


@click.command("list")
@click.option("--state", metavar="STATE", help="Only tasks in this state, such as FAILURE.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many."
)
@common_options
@click.pass_obj
def list_(common: Common, state: str | None, limit: int) -> None:
    """
    List the tasks in the store, the newest first.

    A table in a terminal; otherwise columns divided by tabs, or with --json a JSON object on
    each line.
    """
    from .render import as_json

    counted = _Counted()
    with common.open() as results:
        found = counted.over(results.scan(state=None if state is None else state.upper()))
        newest = heapq.nlargest(limit, found, key=_moment)
    if common.json:
        for meta in newest:
            click.echo(as_json(meta))
    elif is_terminal(sys.stdout) and newest:
        _print_table(newest, counted.count)
    elif newest:
        for row in (_HEADERS, *map(_row, newest)):
            click.echo("\t".join(row))
    if not newest and (state is not None or not common.json):
        say(_nothing(state, common.store))


def _nothing(state: str | None, store: str) -> str:
    if state is None:
        return f"nothing is stored in {store}"
    near = difflib.get_close_matches(state.upper(), states.NAMED_STATES, 1)
    hint = f"; did you mean {near[0]}?" if near and near[0] != state.upper() else ""
    return f"no task in the state {state.upper()} is stored in {store}{hint}"


class _Counted:
    """Counts the metas that pass."""

    def __init__(self) -> None:
        self.count = 0

    def over(self, metas: Iterable[ResultMeta]) -> Iterable[ResultMeta]:
        for meta in metas:
            self.count += 1
            yield meta


def _moment(meta: ResultMeta) -> datetime:
    return meta.date_done or meta.date_started or _EPOCH


def _row(meta: ResultMeta) -> tuple[str, ...]:
    from .render import state_of, summary

    moment, started = _moment(meta), meta.date_started
    now = datetime.now(UTC)
    took = "" if started is None else span(((meta.date_done or now) - started).total_seconds())
    return (
        state_of(meta),
        printable(meta.task_id),
        one_line(meta.name or ""),
        "" if moment == _EPOCH else span((now - moment).total_seconds()),
        took,
        summary(meta),
    )


def _print_table(metas: Sequence[ResultMeta], count: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    rows, widths = _fit([_HEADERS, *map(_row, metas)], console.width)
    if widths[-1] < min(_NARROWEST, max(len(row[-1]) for row in rows)):
        _print_stacked(metas, count, console)
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
        state, *rest = (Text(cell, overflow="ellipsis", no_wrap=True) for cell in row)
        state.stylize(colour_of(state.plain))
        if state.plain in {"FAILURE", "?"}:
            rest[-1].stylize("red")
        table.add_row(state, *rest)
    if count > len(metas):
        table.caption = f"the newest {len(metas)} of {count}"
    console.print(table)


def _print_stacked(metas: Sequence[ResultMeta], count: int, console: Console) -> None:
    """
    Print a few lines for each task: state and age, the id, and the result, broken between words.
    """
    from rich.padding import Padding
    from rich.text import Text

    for row in map(_row, metas):
        state, task_id, _, age, _, result = row
        console.print(Text.assemble((state, colour_of(state)), f"  {age}" if age else ""))
        for text in (task_id, result):
            if text:
                console.print(Padding(Text(text, overflow="fold"), (0, 0, 0, 2)))
    if count > len(metas):
        console.print(Text(f"the newest {len(metas)} of {count}", style="italic"))


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
