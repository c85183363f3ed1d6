"""
`coatcheck get`: the result of one task, for people and for programs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from .._backends.backend import Capability
from . import exits
from .options import Common, common_options
from .text import harmless, is_terminal, say

if TYPE_CHECKING:
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


def colour_of(state: str) -> str:
    """Return the style for *state*."""
    return COLOURS.get(state, "blue")


#: The end of the line about a task that is not ready, by the answer of `Results.check_alive`.
_ALIVE: Final = {
    True: "; its worker is alive",
    False: "; its worker is lost",
    None: "; it gives no signs of life that could be checked",
}


@click.command(
    epilog="""
\b
Examples:
  coatcheck get build                   the value, or the reason why there is none
  coatcheck get build --json | jq .result
  coatcheck get build --check           make sure that its worker is alive
""",
)
@click.argument("task_id", metavar="ID")
@click.option(
    "--check",
    is_flag=True,
    help="Make sure that the worker of a running task is alive, for up to a few heartbeats.",
)
@click.option(
    "--attempts",
    is_flag=True,
    help="Print a line for each attempt instead: state, worker, start, end and error.",
)
@common_options
@click.pass_obj
def get(common: Common, task_id: str, *, check: bool, attempts: bool) -> int:
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
        made = results.attempts(task_id) if attempts else []
        shared = Capability.SHARED in results.backend.capabilities
    status = exits.of_record(meta)
    if meta.error is not None:
        status = exits.ERROR
    if attempts and meta.known:
        from .events import print_attempt

        for attempt in made:
            print_attempt(attempt, json=common.json)
    elif common.json:
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
