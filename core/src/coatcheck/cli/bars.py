"""
The progress bars of `coatcheck wait` in a terminal.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from .lines import Lines
from .render import progress_of, progress_text, state_of, summary
from .show import colour_of
from .text import one_line, printable

if TYPE_CHECKING:
    from types import TracebackType

    from .._record.meta import ResultMeta

#: How many tasks have a bar at a time.
MAX_ROWS: Final = 12
_WIDTH: Final = 24
#: In terminals with fewer columns, rows have no bar.
_NARROW: Final = 80


class _Field(ProgressColumn):
    """Text that belongs to a row. It is never read as markup."""

    def __init__(self, name: str, narrowest: int | None = None) -> None:
        super().__init__(Column(min_width=narrowest, no_wrap=True))
        self._name = name

    def render(self, task: Task) -> Text:
        text = str(task.fields[self._name])
        style = colour_of(text) if self._name == "state" else ""
        return Text(text, style=style, no_wrap=True, overflow="ellipsis")


class Bars(Lines):
    """A bar for each task, or for a dozen of them at a time, and one above for all."""

    def __init__(self, ids: Sequence[str], *, json: bool, lines: bool) -> None:
        super().__init__(ids, json=json, lines=lines)
        self._lock = threading.Lock()
        self._count = len(ids)
        console = Console(stderr=True)
        bar = [] if console.width < _NARROW else [BarColumn(bar_width=_WIDTH)]
        self._progress = Progress(
            _Field("state", len("FAILURE")),
            _Field("task_id", min(max(map(len, ids)), console.width // 4)),
            *bar,
            _Field("note"),
            TimeElapsedColumn(),
            console=console,
        )
        self._all = self._row(f"{len(ids)} tasks", total=len(ids)) if len(ids) > 1 else None
        self._rows = {id_: self._row(id_) for id_ in ids[:MAX_ROWS]}
        self._hidden = deque(ids[MAX_ROWS:])

    def _row(self, name: str, total: float | None = None) -> TaskID:
        return self._progress.add_task("", total=total, state="", task_id=printable(name), note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def wanted(self) -> Sequence[str]:
        """Return the tasks that have a bar."""
        with self._lock:
            return [id_ for id_ in self._rows if id_ in self._waiting]

    def update(self, meta: ResultMeta) -> None:
        """Show state and progress."""
        with self._lock:
            row = self._rows.get(meta.task_id)
            if row is None or meta.task_id not in self._waiting:
                return
            progress = progress_of(meta)
            current, total = progress or (0.0, None)
            self._progress.update(
                row,
                completed=current,
                total=total,
                state=state_of(meta) if meta.known else "unknown",
                note=progress_text(progress) if progress else summary(meta),
            )

    def ready(self, meta: ResultMeta) -> None:
        """Show the end; where bars are scarce, give the bar to another task."""
        super().ready(meta)
        with self._lock:
            if self._all is not None:
                self._progress.advance(self._all)
                done = self._count - len(self._waiting)
                self._progress.update(self._all, note=f"{done} over")
            self._end(meta)

    def _end(self, meta: ResultMeta) -> None:
        row = self._rows.get(meta.task_id)
        if row is None:
            self._hidden = deque(id_ for id_ in self._hidden if id_ != meta.task_id)
            return
        if self._hidden:
            self._progress.remove_task(row)
            del self._rows[meta.task_id]
            following = self._hidden.popleft()
            self._rows[following] = self._row(following)
            return
        completed = 1.0 if meta.successful else 0.0
        self._progress.update(
            row, completed=completed, total=1.0, state=state_of(meta), note=summary(meta)
        )
        self._progress.stop_task(row)

    def say(self, message: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(Text(f"coatcheck: {one_line(message)}"))
