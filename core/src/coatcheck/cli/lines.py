"""
What `coatcheck wait` prints where there is no terminal: a line for each task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .text import printable, say

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .._record.meta import ResultMeta


class Lines:
    """A line on stdout for each task that is over; all else on stderr."""

    def __init__(self, ids: Sequence[str], *, json: bool, lines: bool = True) -> None:
        self._json = json
        self._lines = lines
        self._waiting = dict.fromkeys(ids)
        self._unreadable: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return

    def wanted(self) -> Sequence[str]:
        """Return one task: enough to see whether the store answers."""
        return list(self._waiting)[:1]

    def update(self, meta: ResultMeta) -> None:
        """Say, once, of a record that cannot be read that it keeps the wait from ending."""
        if "status" not in meta.document and meta.task_id not in self._unreadable:
            self._unreadable.add(meta.task_id)
            self.say(f"{meta.error}; still waiting")

    def ready(self, meta: ResultMeta) -> None:
        """Print the line."""
        from .render import as_json, state_of, summary

        self._waiting.pop(meta.task_id, None)
        if not self._lines:
            return
        if self._json:
            line = as_json(meta)
        else:
            line = "\t".join((printable(meta.task_id), state_of(meta), summary(meta)))
        click.echo(line)

    def say(self, message: str) -> None:
        """Print a line on stderr."""
        say(message)
