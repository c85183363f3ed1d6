"""
The screen of `coatcheck watch`. Each text from the store is escaped here, before the library sees it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Footer, Input, Static

from ..._runtime.clocks import wall
from ...errors import CoatcheckError
from ..show import colour_of
from ..text import harmless, one_line, printable, span
from .rows import VIEWS, Row, Rows

if TYPE_CHECKING:
    from ..._record.meta import ResultMeta
    from ..._results.results import Results
    from .feed import Feed

#: How often the screen is drawn anew, in seconds.
_FRAME: Final = 0.5
#: The columns with their widths; the two without one share the rest.
_COLUMNS: Final = {"STATE": 9, "TASK ID": 0, "NAME": 16, "AGE": 6, "TOOK": 6, "RESULT": 0}
#: In terminals with fewer columns, there are no names.
_NARROW: Final = 100
#: What the library puts around the cells of a column, and beside the table.
_PADDING: Final = 2
_SCROLLBAR: Final = 2
_LEAST: Final = 8


class Watch(App[None]):
    """
    The view.

    Args:
        store: the URL, without secrets.
    """

    CSS = """
    #head, #counts { height: 1; padding: 0 1; }
    #trouble { height: auto; padding: 0 1; display: none; }
    #filter { height: 1; border: none; padding: 0 1; display: none; }
    #rows { height: 1fr; }
    #detail { height: 50%; border-top: solid $primary; padding: 0 1; display: none; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "view('running')", "Running"),
        Binding("2", "view('failed')", "Failed"),
        Binding("3", "view('slow')", "Slow"),
        Binding("4", "view('all')", "All"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("enter", "open", "Open", priority=False),
        Binding("escape", "leave", "Back", show=False),
        Binding("p", "pause", "Pause"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, results: Results, rows: Rows, feed: Feed, store: str) -> None:
        super().__init__(ansi_color=True)
        self._results, self._rows, self._feed = results, rows, feed
        self._store = printable(store)
        self._view = "running"
        self._text = ""
        self._paused = False
        self._opened: str | None = None
        self._shown: list[Row] = []
        self._titles = list(_COLUMNS)

    def compose(self) -> ComposeResult:
        """Make the parts of the screen."""
        yield Static(id="head", markup=False)
        yield Static(id="counts", markup=False)
        yield Static(id="trouble", markup=False)
        yield Input(
            placeholder="a part of an id, a name, a worker, a state or a failure", id="filter"
        )
        yield DataTable(id="rows", cursor_type="row", zebra_stripes=False)
        with VerticalScroll(id="detail"):
            yield Static(id="record", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to draw."""
        self._table.focus()
        self._make_columns()
        self.draw()
        self.set_interval(_FRAME, self._frame)

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one("#rows", DataTable)

    # -- drawing --------------------------------------------------------------------------

    def _frame(self) -> None:
        if not self._paused:
            self.draw()

    def draw(self) -> None:
        """Show the rows as they are now."""
        self.query_one("#head", Static).update(self._head())
        self.query_one("#counts", Static).update(self._counts())
        error = self._feed.trouble
        trouble = self.query_one("#trouble", Static)
        trouble.display = error is not None
        trouble.update(Text(one_line(str(error or "")), style="bold red"))
        self._fill()

    def _head(self) -> Text:
        good, bad = self._rows.rates()
        how = "polling" if self._polls else "push"
        paused = "  PAUSED" if self._paused else ""
        head = Text(no_wrap=True, overflow="ellipsis")
        head.append(f"{len(self._rows):,} tasks", style="bold")
        head.append("" if self._rows.complete else " (reading)", style="yellow")
        head.append(f"  {good:g} succeeded/min", style="green")
        head.append(f"  {bad:g} failed/min", style="red" if bad else "")
        head.append(f"  {how}{paused}  {self._store}")
        return head

    @property
    def _polls(self) -> bool:
        from ..._backends.backend import Capability

        pushes = Capability.PUSH in self._results.capabilities
        return not pushes or self._results.polling is not None

    def _counts(self) -> Text:
        counts = Text.assemble((f" {self._view.upper()} ", "reverse"), "  ", no_wrap=True)
        if self._text:
            counts.append(f"/{printable(self._text)}  ", style="bold")
        for state, count in sorted(self._rows.counts.items()):
            if count > 0:
                counts.append(f"{printable(state)} ", style=colour_of(state))
                counts.append(f"{count:,}  ")
        return counts

    def on_resize(self) -> None:
        """Fit the columns to the new width."""
        if self._table.columns:
            self._make_columns()
            self.draw()

    def _make_columns(self) -> None:
        self._table.clear(columns=True)
        self._shown = []
        self._titles = [t for t in _COLUMNS if t != "NAME" or self.size.width >= _NARROW]
        fixed = sum(_COLUMNS[title] + _PADDING for title in self._titles) + _SCROLLBAR
        rest = max(self.size.width - fixed, 2 * _LEAST)
        ids = rest * 3 // 5
        widths = {**_COLUMNS, "TASK ID": ids, "RESULT": rest - ids}
        for title in self._titles:
            self._table.add_column(title, width=widths[title])

    def _fill(self) -> None:
        rows = self._rows.view(self._view, self._text)
        table, now = self._table, datetime.fromtimestamp(wall(), UTC)
        ids = [row.task_id for row in rows]
        if ids == [row.task_id for row in self._shown]:
            for number, row in enumerate(rows):
                for column, cell in enumerate(self._cells(row, now)):
                    place = Coordinate(number, column)
                    if table.get_cell_at(place) != cell:
                        table.update_cell_at(place, cell)
        else:
            chosen, top = self._chosen, table.scroll_y
            table.clear()
            for row in rows:
                table.add_row(*self._cells(row, now))
            if chosen in ids:
                table.move_cursor(row=ids.index(chosen), animate=False, scroll=False)
            table.scroll_to(y=top, animate=False)
        self._shown = rows

    def _cells(self, row: Row, now: datetime) -> list[Text]:
        cells = _cells(row, now)
        return [cells[title] for title in self._titles]

    @property
    def _chosen(self) -> str | None:
        at = self._table.cursor_row
        return self._shown[at].task_id if 0 <= at < len(self._shown) else None

    # -- keys -----------------------------------------------------------------------------

    def action_view(self, name: str) -> None:
        """Show another view."""
        assert name in VIEWS  # noqa: S101 - see BINDINGS
        self._view = name
        self._shown = []
        self._table.clear()
        self.draw()

    def action_pause(self) -> None:
        """Stop drawing, or go on."""
        self._paused = not self._paused
        self.draw()

    def action_filter(self) -> None:
        """Ask for a text."""
        asked = self.query_one("#filter", Input)
        asked.display = True
        asked.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show the tasks with that text."""
        self._text = event.value
        self.draw()

    def on_input_submitted(self) -> None:
        """Leave the filter as it is, and go back to the rows."""
        self.query_one("#filter", Input).display = False
        self._table.focus()

    def on_data_table_row_selected(self) -> None:
        """Open the task under the cursor."""
        self.action_open()

    def action_open(self) -> None:
        """Read the record of the chosen task, in a thread."""
        self._opened = self._chosen
        if self._opened is not None:
            self.query_one("#detail").display = True
            self.run_worker(self._read, thread=True, exclusive=True)

    def _read(self) -> None:
        task_id = self._opened
        if task_id is None:
            return
        try:
            text = detail(self._results.get_task_meta(task_id))
        except CoatcheckError as error:
            text = one_line(str(error))
        self.call_from_thread(self.query_one("#record", Static).update, Text(text))

    def action_leave(self) -> None:
        """Close the record, or else forget the filter."""
        opened = self.query_one("#detail")
        if opened.display:
            opened.display, self._opened = False, None
        else:
            asked = self.query_one("#filter", Input)
            asked.value, asked.display = "", False
        self._table.focus()


def _cells(row: Row, now: datetime) -> dict[str, Text]:
    texts = {
        "STATE": one_line(row.state),
        "TASK ID": printable(row.task_id),
        "NAME": one_line(row.name),
        "AGE": span((now - row.moment).total_seconds()) if row.done or row.started else "",
        "TOOK": "" if row.started is None else span(row.took(now)),
        "RESULT": row.summary,
    }
    cells = {title: Text(text, no_wrap=True, overflow="ellipsis") for title, text in texts.items()}
    cells["STATE"].stylize(colour_of(row.state))
    if row.state == "FAILURE":
        cells["RESULT"].stylize("red")
    return cells


def detail(meta: ResultMeta) -> str:
    """Return all of a record as text that does no harm to a terminal."""
    from ..render import pretty, state_of, summary

    fields = {
        "task": printable(meta.task_id),
        "state": state_of(meta) if meta.known else "gone",
        "name": meta.name,
        "worker": meta.worker,
        "started": _time(meta.date_started),
        "done": _time(meta.date_done),
        "expires": _time(meta.expires_at),
        "queue": meta.queue,
        "retries": meta.retries,
        "sign of life": None if meta.heartbeat_age is None else f"{span(meta.heartbeat_age)} ago",
    }
    lines = [f"{name:13} {one_line(str(value))}" for name, value in fields.items() if value]
    if meta.error is not None or meta.failure is not None:
        lines.append(f"{'reason':13} {summary(meta)}")
    elif meta.known:
        lines.append(harmless(pretty(meta.result)))
    if meta.traceback:
        lines += ["", harmless(meta.traceback)]
    return "\n".join(lines)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
