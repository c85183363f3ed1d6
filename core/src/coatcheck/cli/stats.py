"""
`coatcheck stats`: how many records there are, by state and age.
"""

from __future__ import annotations

import json
import sys
from typing import Final

import click

from .._results.counting import SAMPLE, Stats
from .options import Common, common_options
from .text import is_terminal, one_line, say

_HEADERS: Final = ("STATE", "ALL", "< 1 MIN", "< 1 H", "< 1 D", "OLDER", "UNDATED")


@click.command(
    epilog="""
\b
Examples:
  coatcheck stats                   the store that other commands use
  coatcheck stats --sample 100000   read more records
  coatcheck stats --json            for a program
"""
)
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(min=1),
    default=SAMPLE,
    show_default=True,
    help="Read at most this many records, chosen at random, if the store does not count.",
)
@common_options
@click.pass_obj
def stats(common: Common, sample: int) -> None:
    """
    Count the records by state and age.

    The age is the time since the task ended, or else began. SQL databases and MongoDB count by
    themselves. Of other stores all ids are listed. If there are more than --sample of them, the numbers are
    estimates, and a line on stderr says so.

    Needs a store that lists its records (capability SCAN). --json prints one object, with the counts of
    the records that were read.
    """
    with common.open() as results:
        found = results.stats(sample=sample)
    if common.json:
        click.echo(json.dumps({**found._asdict(), "sampled": found.sampled}))
        return
    _print(found)
    if found.sampled:
        say(f"{found.read:,} of {found.total:,} records were read: the numbers are estimates")


def _print(found: Stats) -> None:
    ages = (None, "minute", "hour", "day", "older", "undated")
    rows = [_HEADERS] + [
        (one_line(state), *(f"{found.number(state, age)}" for age in ages))
        for state in found.states
    ]
    if not is_terminal(sys.stdout):
        for row in rows:
            click.echo("\t".join(row))
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join((row[0].ljust(widths[0]), *cells[1:])))
