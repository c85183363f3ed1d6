"""
`coatcheck watch`: a live view of the tasks in a store.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Final

import click

from ..errors import ConfigurationError
from . import exits
from .options import Common, common_options
from .text import is_terminal

#: The package of the extra `watch`.
_NEEDED: Final = "textual"


@click.command(
    epilog="""
\b
Examples:
  coatcheck watch                        the store that other commands use
  coatcheck watch --backend live         a configured one
  coatcheck watch --interval 10          look for new tasks less often
"""
)
@click.option(
    "--interval",
    metavar="SECONDS",
    type=click.FloatRange(min=0.2),
    default=2.0,
    show_default=True,
    help="How often to look for new tasks.",
)
@common_options
@click.pass_obj
def watch(common: Common, interval: float) -> int:
    """
    Watch the tasks in a store: rates, states, progress and failures.

    \b
    Keys:
      1 2 3 4   the tasks that run, failed, took longest, or all
      /         only those with a text in id, name, worker, state or failure
      Enter     the whole record of a task; Escape goes back
      p         pause
      q         quit

    A store that wakes waiters tells changes of running tasks at once. New tasks are found by listing the ids,
    every --interval seconds and no more than a quarter of the time. Changes nothing.

    Needs a terminal, a store that lists its records (capability SCAN), and the extra: pip install
    'coatcheck[watch]'.
    """
    if common.json:
        raise click.UsageError("watch is for people; programs use list or stats with --json")
    if find_spec(_NEEDED) is None:
        raise ConfigurationError("watch needs textual: pip install 'coatcheck[watch]'")
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        raise click.UsageError("watch needs a terminal; use list or stats elsewhere")
    from ._watch.app import Watch
    from ._watch.feed import Feed
    from ._watch.rows import Rows

    with common.open(read_only=True) as results:
        rows = Rows()
        feed = Feed(results, rows, interval=interval)
        feed.start()
        try:
            Watch(results, rows, feed, common.store).run()
        finally:
            feed.stop()
    return exits.SUCCESS
