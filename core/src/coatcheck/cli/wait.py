"""
`coatcheck wait`: waiting until tasks are ready, with their progress.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Final

import click

from .._runtime.starting import start
from ..errors import BackendError, WaitTimeoutError
from . import exits
from .lines import Lines
from .options import Common, common_options
from .text import is_terminal

if TYPE_CHECKING:
    from types import TracebackType

    from .._results.results import Results

#: Seconds between two reads of the shown tasks.
REFRESH: Final = 0.5


@click.command(
    epilog="""
\b
Examples:
  coatcheck wait build                  until it is over
  coatcheck wait build test --timeout 600 && ./deploy
""",
)
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Give up after so many seconds; 0 looks once. Without it the wait has no end.",
)
@common_options
@click.pass_obj
def wait(common: Common, task_ids: tuple[str, ...], timeout: float | None) -> int:
    """
    Wait until all of some tasks are over.

    Prints a line for each task as it ends: id, state and outcome, divided by tabs; with --json a JSON
    object. A terminal shows progress bars. The exit status is 0 if all succeeded: see coatcheck --help.
    """
    ids = list(dict.fromkeys(task_ids))
    statuses: list[int] = []
    with common.open() as results:
        known = results.get_many(ids)  # an error of the store shows at once
        with _view(common, ids) as view, _Watch(results, view):
            for meta in known.values():
                if not meta.ready:
                    view.update(meta)
            try:
                for meta in results.as_completed(ids, timeout=timeout):
                    statuses.append(exits.of_record(meta))
                    view.ready(meta)
            except WaitTimeoutError as error:
                view.say(str(error))
                statuses.append(exits.TIMED_OUT)
    return exits.of_several(statuses)


def _view(common: Common, ids: list[str]) -> Lines:
    terminal = is_terminal(sys.stderr)
    both = terminal and is_terminal(sys.stdout)
    if not terminal or (both and common.json):
        return Lines(ids, json=common.json)
    from .bars import Bars

    return Bars(ids, json=common.json, lines=not both)


class _Watch:
    """
    Reads the tasks of a view again and again, in a thread, and tells whether the store answers.
    """

    def __init__(self, results: Results, view: Lines) -> None:
        self._results = results
        self._view = view
        self._trouble = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="coatcheck-watch", daemon=True)

    def __enter__(self) -> None:
        start(self._thread)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(REFRESH)  # it may be in the middle of a read of a store that is away

    def _run(self) -> None:
        while not self._ended.wait(REFRESH):
            self._look()

    def _look(self) -> None:
        wanted = self._view.wanted()
        if not wanted:
            return
        try:
            metas = self._results.get_many(wanted)
        except BackendError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._view.say(f"{error}; still waiting")
            return
        if self._trouble:
            self._trouble = ""
            self._view.say("the store answers again")
        for meta in metas.values():
            if not meta.ready:
                self._view.update(meta)
