"""
`coatcheck forget` and `coatcheck purge`: deleting records.
"""

from __future__ import annotations

import json

import click

from .._record.documents import checked_id
from ..errors import UnknownTaskError
from . import exits
from .options import Common, common_options
from .text import say


@click.command(
    epilog="""
\b
Examples:
  coatcheck forget build test           two records, ready or not
  coatcheck list --prefix test- --limit 1000 --json | jq -r .task_id | xargs coatcheck forget
""",
)
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@common_options
@click.pass_obj
def forget(common: Common, task_ids: tuple[str, ...]) -> int:
    """
    Delete the records of tasks, ready or not.

    The ids are new after that. With --json prints a JSON object on each line. The exit status is
    4 if nothing was stored for one of them.
    """
    status = exits.SUCCESS
    ids = [checked_id(task_id) for task_id in dict.fromkeys(task_ids)]
    with common.open() as results:
        for task_id in ids:
            forgotten = results.forget(task_id)
            if not forgotten:
                status = exits.UNKNOWN
            if common.json:
                click.echo(json.dumps({"task_id": task_id, "forgotten": forgotten}))
            elif not forgotten:
                say(str(UnknownTaskError(task_id)))
    return status


@click.command(
    epilog="""
\b
Examples:
  coatcheck purge                       what expired and is still there
  coatcheck purge --backend file:///srv/results
""",
)
@common_options
@click.pass_obj
def purge(common: Common) -> None:
    """
    Delete expired records that the store has not deleted itself.

    Readers do not see them anyway: this frees their space. Prints their number. Stores that delete
    expired records themselves may have nothing to delete.
    """
    with common.open() as results:
        purged = results.purge()
    if common.json:
        click.echo(json.dumps({"purged": purged}))
    else:
        click.echo(f"{purged} expired record{'' if purged == 1 else 's'} deleted")
