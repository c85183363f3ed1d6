"""
`coatcheck migrate`: the records and groups of one store, copied to another.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from . import completing, exits
from .filters import filter_options
from .options import Common, common_options
from .text import is_terminal, one_line, say, span

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._backends.query import Filters
    from .._migration.outcome import Migrated
    from .._results.results import Results


@click.command(
    epilog="""
\b
Examples:
  coatcheck migrate sqlite:///results.db live --dry-run   a file, and a configured store
  coatcheck migrate sqlite:///results.db live
  coatcheck migrate live archive --state FAILURE --since 7d
"""
)
@click.argument("source", metavar="SRC", shell_complete=completing.backends)
@click.argument("target", metavar="DST", shell_complete=completing.backends)
@filter_options
@click.option("--dry-run", is_flag=True, help="Write nothing, and count what would be copied.")
@click.option("--no-verify", is_flag=True, help="Do not look for all records in DST at the end.")
@common_options
@click.pass_obj
def migrate(
    common: Common, source: str, target: str, filters: Filters, *, dry_run: bool, no_verify: bool
) -> int:
    """
    Copy the records and groups of SRC to DST, with their remaining lives.

    SRC and DST are URLs or configured names. SRC is only read, and needs the capability SCAN. A ready
    record in DST is never replaced. Run the command again after an interruption: it goes on. Filters copy
    only the tasks that meet them all, and no groups.

    A line on stderr names each record that could not be copied, and the reason. --json prints the counts
    as one object, and an object for each such record before it.

    The exit status is 0 if all records are in DST, 1 if not, 2 for wrong usage or an error of a store.
    """
    from .._migration.migration import migrate as copied

    if common.backend is not None:
        raise click.UsageError("migrate takes the stores as arguments, not by --backend")
    stores = Common(source), Common(target)
    if stores[0].url == stores[1].url:
        raise click.UsageError("SRC and DST are the same store")
    with stores[0].open(read_only=True) as old, stores[1].open() as new:
        with _progress(old, verify=not (dry_run or no_verify)) as show:
            counts = copied(
                old,
                new,
                dry_run=dry_run,
                verify=not no_verify,
                on_progress=show,
                on_failure=_object if common.json else _line,
                **filters,
            )
        expires = new.expires
    if common.json:
        click.echo(json.dumps({**asdict(counts), "complete": counts.complete}))
    else:
        for line in _summary(counts, expires, dry_run=dry_run):
            click.echo(line)
    return exits.SUCCESS if counts.complete else exits.FAILURE


def _line(id_: str, error: Exception) -> None:
    say(one_line(f"{id_}: {error}"))


def _object(id_: str, error: Exception) -> None:
    click.echo(json.dumps({"id": id_, "error": str(error)}))


def _summary(counts: Migrated, expires: float | None, *, dry_run: bool) -> Iterator[str]:
    would = "would be copied" if dry_run else "copied"
    yield f"{_records(counts.copied)} and {_number(counts.groups, 'group')} {would}"
    if counts.there or counts.groups_there:
        there = f"{_records(counts.there)} and {_number(counts.groups_there, 'group')}"
        yield f"{there} were in the target already, and stay"
    if not counts.groups_listed:
        yield "no groups were copied: the source does not list them"
    if counts.gone:
        yield f"{_records(counts.gone)} expired meanwhile"
    if counts.default_life:
        life = "are kept" if expires is None else f"live for {span(expires)}"
        yield f"{counts.default_life:,} of the copies {life}: their remaining life is not known"
    if counts.failed:
        yield f"{counts.failed:,} could not be copied"
    if counts.verified or counts.missing:
        total = counts.verified + counts.missing
        yield f"verified: {counts.verified:,} of {_records(total)} in the target"


def _records(count: int) -> str:
    return _number(count, "record")


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


@contextmanager
def _progress(source: Results, *, verify: bool) -> Iterator[Callable[[Migrated], object]]:
    """Show a bar on stderr, if that is a terminal. All ids are counted for it."""
    if not is_terminal(sys.stderr):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    total = sum(1 for _ in source.backend.scan())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        copying = bars.add_task("copying", total=total)
        verifying = bars.add_task("verifying", total=total) if verify else None

        def show(counts: Migrated) -> None:
            bars.update(copying, completed=counts.seen)
            if verifying is not None:
                bars.update(verifying, completed=counts.verified + counts.missing)

        yield show
