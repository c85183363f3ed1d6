"""
`coatcheck reap`: tasks whose worker is lost although nobody waits for them.
"""

from __future__ import annotations

import click

from . import exits
from .options import Common, common_options
from .text import printable, say


@click.command(
    epilog="""
\b
Examples:
  coatcheck reap                look at all running tasks
  coatcheck reap build test     look at two
  coatcheck reap --dry-run      name the lost ones, and record nothing
"""
)
@click.argument("task_ids", metavar="[ID]...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Record nothing.")
@common_options
@click.pass_obj
def reap(common: Common, task_ids: tuple[str, ...], *, dry_run: bool) -> int:
    """
    Find tasks whose worker is lost, and record a failure for each.

    A task whose worker was killed shows as running for as long as its record lives, unless somebody waits
    for it. This command watches the running tasks that have a heartbeat, for three to five of the
    longest interval. Prints a line for each lost task, or with --json a JSON object.

    Without IDs it looks at all tasks, which needs a store that lists them (capability SCAN).
    """
    from .render import as_json, summary

    options = {"read_only": True} if dry_run else {}
    with common.open(**options) as results:
        lost = results.reap(task_ids or None)
    for meta in lost:
        if common.json:
            click.echo(as_json(meta))
        else:
            click.echo(f"{printable(meta.task_id)}\t{summary(meta)}")
    if not common.json:
        done = "found" if dry_run else "recorded as failed"
        say(f"{len(lost)} task{'' if len(lost) == 1 else 's'} with a lost worker {done}")
    return exits.SUCCESS
