"""
`coatcheck revoke`: telling tasks to stop.
"""

from __future__ import annotations

import json

import click

from .._record.documents import checked_id
from . import exits
from .options import Common, common_options
from .text import say


@click.command(
    epilog="""
\b
Examples:
  coatcheck revoke build
  coatcheck revoke build test --reason "wrong branch"
""",
)
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--reason", metavar="TEXT", default="revoked", help="Why; waiters are told.")
@common_options
@click.pass_obj
def revoke(common: Common, task_ids: tuple[str, ...], reason: str) -> int:
    """
    Tell tasks to stop.

    Each task is REVOKED at once, so that waiters hear of it. A running task learns of it at its
    next heartbeat; coatcheck run ends its command then. A task that has not started learns of
    it when it does.

    With --json prints a JSON object on each line. The exit status is 2 if one of the tasks is over
    already: its record stays.
    """
    status = exits.SUCCESS
    ids = [checked_id(task_id) for task_id in dict.fromkeys(task_ids)]
    with common.open() as results:
        for task_id in ids:
            revoked = results.revoke(task_id, reason)
            if not revoked:
                status = exits.ERROR
            if common.json:
                click.echo(json.dumps({"task_id": task_id, "revoked": revoked}))
            elif not revoked:
                over = results.get_state(task_id)
                say(f"task {task_id!r} is over already ({over}): it was not revoked")
    return status
