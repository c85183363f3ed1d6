"""
`coatcheck list`: stored results that match filters, for people and for programs.
"""

from __future__ import annotations

import difflib
import json
import shlex
import sys
from typing import TYPE_CHECKING, Final, get_args

import click

from .. import states
from .._results.pages import Page, Sort, cursor_of
from .filters import filter_options
from .options import Common, common_options
from .tables import HEADERS, print_table, row_of
from .text import is_terminal, say

if TYPE_CHECKING:
    from .._backends.query import Filters

_FIRST: Final = {"newest": "the newest ", "oldest": "the oldest ", "id": "the first "}


@click.command(
    "list",
    epilog="""
\b
Examples:
  coatcheck list                               the newest 20
  coatcheck list --state FAILURE --since 2h    what failed in the last two hours
  coatcheck list --name report --worker w1     by name and worker
  coatcheck list --sort oldest --state STARTED running for longest
  coatcheck list --sort id --limit 1000 --json in portions, for a program
""",
)
@filter_options
@click.option(
    "--sort",
    type=click.Choice(get_args(Sort)),
    default="newest",
    show_default=True,
    help="By the time when the task ended, or else began; or by id, in the store's order.",
)
@click.option(
    "--after", metavar="CURSOR", help="Go on after a task: the cursor that the last page printed."
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most this many."
)
@common_options
@click.pass_obj
def list_(common: Common, filters: Filters, sort: Sort, after: str | None, limit: int) -> None:
    """
    List the tasks in the store that match all options.

    A table in a terminal; otherwise columns divided by tabs, or with --json a JSON object on each line,
    with its cursor. If there are more tasks, the cursor for --after is printed on stderr.

    SQL databases and MongoDB choose the tasks by themselves, and SQLite those in a state. From other
    stores, all tasks whose ids start with --prefix are read. By time, each page reads all that match; by
    id, only those that it shows, if the store has an order (SQL, MongoDB, SQLite).

    Needs a store that lists its records (capability SCAN).
    """
    with common.open() as results:
        page = results.page(sort=sort, limit=limit, after=after, **filters)
    if common.json:
        for meta in page.records:
            click.echo(json.dumps({**meta.as_json(), "cursor": cursor_of(meta, sort)}))
    else:
        _print(page, _rest(page, _FIRST[sort] if after is None else ""))
        if page.cursor is not None:
            say(f"more: add --after {shlex.quote(page.cursor)}")
    if not page.records and (filters or not common.json):
        say(_nothing(filters, common.store))


def _print(page: Page, rest: str) -> None:
    if is_terminal(sys.stdout) and page.records:
        print_table(page.records, rest)
    elif page.records:
        for row in (HEADERS, *map(row_of, page.records)):
            click.echo("\t".join(row))


def _rest(page: Page, first: str) -> str:
    number = len(page.records)
    if page.total is None:
        return f"{first}{number:,}" if first and page.cursor is not None else ""
    return f"{first}{number:,} of {page.total:,}" if page.total > number else ""


def _nothing(filters: Filters, store: str) -> str:
    state = filters.get("state")
    if state is None:
        return f"{'no task that matches' if filters else 'nothing'} is stored in {store}"
    near = difflib.get_close_matches(state, states.NAMED_STATES, 1)
    hint = f"; did you mean {near[0]}?" if near and near[0] != state else ""
    others = " that matches" if len(filters) > 1 else ""
    return f"no task in the state {state}{others} is stored in {store}{hint}"
