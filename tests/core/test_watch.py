"""
`coatcheck watch`: its rows, the threads that read them, and the screen.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.cli import CommandLine, Terminal, until
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

import coatcheck
from coatcheck import Results
from coatcheck.cli._watch.app import Watch
from coatcheck.cli._watch.feed import Feed
from coatcheck.cli._watch.rows import Rows, row_of

#: Text that would clear a terminal, set its title, and change its colours.
HARMFUL = "bad\x1b[2J\x1b]0;title\x07\x9b31m[red]"


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Results]:
    """
    A store with tasks of all kinds.
    """
    now = datetime.now(UTC)
    with coatcheck.by_url(f"sqlite:///{tmp_path}/results.db") as results:
        results.store_many({f"done{n}": n for n in range(300)})
        results.mark_as_started("slow", date_started=now - timedelta(hours=2), name="report")
        results.store_result("slow", 1, date_started=now - timedelta(hours=2), name="report")
        results.store_result("failed", ValueError(HARMFUL), "FAILURE", name=HARMFUL)
        results.store_result(HARMFUL, 1, worker=HARMFUL)
        for n in range(3):
            began = now - timedelta(seconds=30 + n)
            results.store_result(
                f"run{n}", {"current": n, "total": 4}, "PROGRESS", date_started=began
            )
        yield results


@pytest.fixture
def rows(results: Results) -> Rows:
    """
    All of them.
    """
    rows = Rows()
    rows.take(results.scan())
    return rows


# -- rows ---------------------------------------------------------------------------------------


def test_views(rows: Rows) -> None:
    """
    Each view has its tasks in its order, and no more than it shows.
    """
    assert ["run0", "run1", "run2"] == [row.task_id for row in rows.view("running")]
    assert ["failed"] == [row.task_id for row in rows.view("failed")]
    assert ["slow", "run2", "run1", "run0"] == [row.task_id for row in rows.view("slow")]
    assert 200 == len(rows.view("all"))
    assert {"SUCCESS": 302, "FAILURE": 1, "PROGRESS": 3} == rows.counts


def test_a_text(rows: Rows) -> None:
    """
    A text chooses by id, name, worker, state and failure, in any case, from all tasks.
    """
    found = {
        text: [row.task_id for row in rows.view("all", text)] for text in ("REPORT", "valueerr")
    }
    assert {"REPORT": ["slow"], "valueerr": ["failed"]} == found
    assert 111 == len(rows.view("all", "done1"))


def test_changes(results: Results, rows: Rows) -> None:
    """
    Records that change are counted once, an old snapshot changes nothing, and those that have gone are dropped.
    """
    before = results.get_task_meta("run0")
    rows.complete = True
    results.store_result("run0", 1)
    results.store_result("new", ValueError("no"), "FAILURE")
    rows.take(results.get_many(["run0", "new", "done1"]).values())
    rows.take([before])

    assert (1, 1) == rows.rates()
    assert (303, 2, 2) == tuple(rows.counts[state] for state in ("SUCCESS", "FAILURE", "PROGRESS"))
    assert not rows.wanted("run0")
    rows.keep(["run1"])
    assert (1, 0) == (len(rows), rows.counts["SUCCESS"])


def test_a_record_that_cannot_be_read(results: Results) -> None:
    """
    A damaged record has a row, and the reason in it.
    """
    key = "celery-task-meta-odd"
    results.backend.backend.put(key, b"\0", unless=frozenset(), expires=None)
    row = row_of(results.get_task_meta("odd"))

    assert "?" == row.state
    assert "no serializer" in row.summary


# -- the feed -----------------------------------------------------------------------------------


@pytest.fixture
def fed(results: Results) -> Iterator[Rows]:
    """
    Rows that a feed keeps.
    """
    rows = Rows()
    feed = Feed(results, rows, interval=0.05)
    feed.start()
    until(lambda: rows.complete)
    yield rows
    feed.stop()


def state_in(rows: Rows, task_id: str) -> str | None:
    return next((row.state for row in rows.view("all", task_id)), None)


def test_feed(results: Results, fed: Rows) -> None:
    """
    New tasks, changes, ends and deletions are seen.
    """
    assert 306 == len(fed)
    results.mark_as_started("new")
    until(lambda: state_in(fed, "new") == "STARTED")
    results.store_result("new", {"current": 1, "total": 2}, "PROGRESS")
    until(lambda: state_in(fed, "new") == "PROGRESS")
    results.store_result("new", 1)
    until(lambda: state_in(fed, "new") == "SUCCESS")
    results.forget("new")
    until(lambda: state_in(fed, "new") is None)


def test_feed_over_an_error(tmp_path: Path) -> None:
    """
    While the store fails, the error is told, and after that the feed goes on.
    """
    place = tmp_path / "files"
    with coatcheck.by_url(f"file://{place}") as results:
        results.store_result("t", 1)
        rows = Rows()
        feed = Feed(results, rows, interval=0.05)
        feed.start()
        until(lambda: rows.complete)
        moved = place.rename(tmp_path / "moved")
        place.touch()  # a file in the place of the directory
        until(lambda: feed.trouble)
        place.unlink()
        moved.rename(place)
        results.store_result("u", 1)
        until(lambda: state_in(rows, "u"))
        until(lambda: feed.trouble is None)
        feed.stop()


def test_feed_needs_a_list() -> None:
    """
    A store that lists nothing is refused at once.
    """
    with pytest.raises(coatcheck.UnsupportedError, match="SCAN"):
        Feed(coatcheck.by_url("disabled://"), Rows(), interval=1).start()


# -- the screen, by the library's pilot ---------------------------------------------------------


class Screen:
    """
    The screen of a running view, and its keys.
    """

    def __init__(self, app: Watch, pilot: Pilot[None]) -> None:
        self.app, self._pilot = app, pilot

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)
        await self._pilot.pause()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await self._pilot.pause(0.05)

    @property
    def ids(self) -> list[str]:
        table = self.app.query_one(DataTable)
        return [str(table.get_row_at(n)[1]) for n in range(table.row_count)]

    def text(self, name: str) -> str:
        return str(self.app.query_one(name, Static).render())


@asynccontextmanager
async def screen(results: Results, rows: Rows, *, columns: int = 80) -> AsyncIterator[Screen]:
    app = Watch(results, rows, Feed(results, rows, interval=1), "sqlite:///\x1bresults.db")
    async with app.run_test(size=(columns, 24)) as pilot:
        yield Screen(app, pilot)


async def test_keys(results: Results, rows: Rows) -> None:
    """
    Keys change the view, filter it, open a record, and lead back.
    """
    async with screen(results, rows) as shown:
        assert ["run0", "run1", "run2"] == shown.ids
        await shown.press("3")
        assert ["slow", "run2", "run1", "run0"] == shown.ids
        await shown.press("down", "enter")
        await shown.until(lambda: "PROGRESS" in shown.text("#record"))
        assert '"current": 2' in shown.text("#record")
        await shown.press("escape", "4", "slash", *"failed", "enter")
        assert ["failed"] == shown.ids
        assert "/failed" in shown.text("#counts")
        await shown.press("escape")
        assert 200 == len(shown.ids)


async def test_changes_on_the_screen(results: Results, rows: Rows) -> None:
    """
    Progress appears, the cursor stays with its task, and a pause holds everything.
    """
    async with screen(results, rows) as shown:
        await shown.press("down", "down")
        results.mark_as_started("fresh", date_started=datetime.now(UTC))
        results.store_result("run2", {"current": 4, "total": 4}, "PROGRESS")
        rows.take(results.get_many(["fresh", "run2"]).values())
        await shown.until(lambda: "fresh" in shown.ids)
        await shown.press("enter")
        await shown.until(lambda: "run2" in shown.text("#record"))
        await shown.press("escape", "p")
        assert "PAUSED" in shown.text("#head")
        rows.keep(["run1"])
        await shown.press("up", "down")
        assert "fresh" in shown.ids


@pytest.mark.parametrize(("columns", "has_names"), [(40, False), (80, False), (120, True)])
async def test_widths(results: Results, rows: Rows, columns: int, has_names: bool) -> None:
    """
    The table fits into any width, and leaves out names in narrow terminals.
    """
    async with screen(results, rows, columns=columns) as shown:
        table = shown.app.query_one(DataTable)
        titles = [str(column.label) for column in table.ordered_columns]

        assert has_names == ("NAME" in titles)
        assert columns < 80 or table.virtual_size.width <= columns


async def test_nothing_harmful_is_shown(results: Results, rows: Rows) -> None:
    """
    Control characters and markup in ids, names, workers, failures and the URL are shown as text.
    """
    async with screen(results, rows, columns=140) as shown:
        await shown.press("2")
        row = [str(cell) for cell in shown.app.query_one(DataTable).get_row_at(0)]
        await shown.press("4", "slash", *"x9b", "enter", "slash", *"bad", "enter")
        texts = [*row, shown.text("#head"), *shown.ids]
        for key in ("enter", "down", "enter"):
            await shown.press(key)
        await shown.until(lambda: shown.text("#record"))
        texts.append(shown.text("#record"))

        assert all(char.isprintable() or char == "\n" for text in texts for char in text)
        assert r"bad\x1b[2J\x1b]0;title\x07\x9b31m[red]" in "".join(row)


# -- the command --------------------------------------------------------------------------------


@pytest.fixture
def cli(tmp_path: Path, results: Results) -> CommandLine:
    """
    The command line, with that store.
    """
    return CommandLine(tmp_path)


def quit_(terminal: Terminal) -> None:
    terminal.type(b"q")
    assert 0 == terminal.finish()


def test_in_a_terminal(cli: CommandLine, results: Results) -> None:
    """
    The view runs in a terminal of 80 columns, shows an event soon, and sends no text of the store that does harm.
    """
    with cli.terminal("watch", "--interval", "0.2", columns=80) as terminal:
        terminal.read_until("run2")
        results.store_result("run1", ValueError("broken"), "FAILURE")
        terminal.type(b"2")
        terminal.read_until("broken")
        terminal.type(b"4")
        terminal.read_until(r"bad\x1b[2J")
        quit_(terminal)

    assert "\x1b[2J\x1b]0;" not in terminal.raw
    assert "\x1b]0;title" not in terminal.raw
    assert "\x9b" not in terminal.raw


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "needs a terminal"),
        (("--json",), "is for people"),
        (("--interval", "0"), "0.2"),
    ],
)
def test_misused(cli: CommandLine, arguments: tuple[str, ...], reason: str) -> None:
    """
    A mistake is one line.
    """
    done = cli("watch", *arguments)

    assert 2 == done.returncode
    assert reason in done.stderr


def test_a_store_that_lists_nothing(cli: CommandLine) -> None:
    """
    The error names the capability, before the screen changes.
    """
    with cli.terminal("watch", "--backend", "disabled://") as terminal:
        assert 2 == terminal.finish()
    assert "SCAN" in terminal.shown


def test_without_the_library(cli: CommandLine) -> None:
    """
    Without its extra the command names the package to install.
    """
    code = (
        "import sys; sys.modules['textual'] = None; import coatcheck.cli; "
        "sys.exit(coatcheck.cli.main(['watch']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env=cli.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )

    assert 2 == done.returncode
    assert "pip install 'coatcheck[watch]'" in done.stderr
