"""
`coatcheck events`: the log of a task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .._record.events import Attempt
from ..errors import WaitTimeoutError
from . import exits
from .options import Common, common_options
from .text import one_line, printable, say

if TYPE_CHECKING:
    from .._record.events import Event


@click.command(
    epilog="""
\b
Examples:
  coatcheck events build                what happened so far
  coatcheck events build --follow       and what happens, up to the end
  coatcheck events build --after 17     what came after the event 17
"""
)
@click.argument("task_id", metavar="ID")
@click.option(
    "--after",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    help="Leave out the events up to the number N.",
)
@click.option("--follow", is_flag=True, help="Go on until the task is over.")
@common_options
@click.pass_obj
def events(common: Common, task_id: str, *, after: int, follow: bool) -> int:
    """
    Print the events of a task: changes of its state, progress, and what the application emitted.

    Prints a line for each event: number, date, kind and data, divided by tabs; with --json a JSON object.
    If a task is over, the last event has its state and its result, and the exit status is that of
    coatcheck get.

    Needs a store that keeps events (capability EVENTS).
    """
    status = exits.NOT_READY
    with common.open() as results:
        try:
            for event in results.events(task_id, after, timeout=None if follow else 0):
                _print(event, json=common.json)
                if event.last and event.meta is not None:
                    status = exits.of_record(event.meta)
        except WaitTimeoutError as error:
            if error.last_error is not None:
                raise
            if not results.exists(task_id):
                say(str(error))
                status = exits.UNKNOWN
    return status


def _print(event: Event, *, json: bool) -> None:
    if json:
        from json import dumps

        click.echo(dumps(event.as_json(), allow_nan=False))
        return
    if event.dropped:
        say(
            f"{event.dropped} event{'' if event.dropped == 1 else 's'} before {event.number} dropped"
        )
    date = "" if event.date is None else event.date.isoformat(timespec="milliseconds")
    line = (str(event.number), date, event.state or event.kind, _text(event))
    click.echo("\t".join(map(printable, line)))


def _text(event: Event) -> str:
    from .render import preview, progress_in, progress_text, summary

    if event.meta is not None:
        return summary(event.meta)
    if event.error is not None:
        return one_line(str(event.error))
    progress = progress_in(event.data)
    return preview(event.data) if progress is None else progress_text(progress)


def print_attempt(attempt: Attempt, *, json: bool) -> None:
    """Print one attempt at a task: state, worker, start, end and error."""
    dates = [None if d is None else d.isoformat() for d in (attempt.started, attempt.ended)]
    error = None if attempt.error is None else f"{type(attempt.error).__name__}: {attempt.error}"
    values = (attempt.state, attempt.worker, *dates, error)
    if json:
        from json import dumps

        click.echo(dumps(dict(zip(Attempt._fields, values, strict=True))))
    else:
        click.echo("\t".join(one_line(value or "-") for value in values))
