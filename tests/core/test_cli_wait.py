"""
`coatcheck wait`: lines for programs, bars for people, statuses for both.
"""

import json
import signal
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest
from support.cli import PATIENCE, CommandLine

import coatcheck
from coatcheck.cli.wait import Lines, _Watch


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_a_line_for_each_as_it_ends(cli: CommandLine) -> None:
    """
    A line is printed when a task ends, not when all have; an id that is given twice counts once.
    """
    process = cli.start("wait", "a", "b", "a")
    assert process.stdout is not None
    with cli.results as results:
        results.store_result("b", {"x": 1})
        assert "b\tSUCCESS\t{'x': 1}\n" == process.stdout.readline()
        assert process.poll() is None
        results.store_result("a", "text")
    stdout, stderr = process.communicate(timeout=PATIENCE)

    assert (0, "a\tSUCCESS\ttext\n", "") == (process.returncode, stdout, stderr)


def test_json_lines(cli: CommandLine) -> None:
    """
    --json prints the record of each task as an object on its line.
    """
    with cli.results as results:
        results.store_result("a", 1)
        results.mark_as_failure("b", ValueError("no"))
    done = cli("wait", "a", "b", "--json")
    records = {(r := json.loads(line))["task_id"]: r for line in done.stdout.splitlines()}

    assert 1 == done.returncode
    assert 1 == records["a"]["result"]
    assert "no" == records["b"]["failure"]["message"]


@pytest.mark.parametrize(
    ("ids", "status"),
    [
        (["done"], 0),
        (["done", "failed"], 1),
        (["revoked", "done"], 5),
        (["revoked", "failed"], 1),
        (["failed", "missing"], 124),
    ],
)
def test_the_status_says_how_it_went(cli: CommandLine, ids: list[str], status: int) -> None:
    """
    The exit status tells a timeout, a failure, a revocation and success apart.
    """
    with cli.results as results:
        results.store_result("done", 1)
        results.mark_as_failure("failed", ValueError("no"))
        results.mark_as_revoked("revoked")
    done = cli("wait", *ids, "--timeout", "0.5")

    assert status == done.returncode
    assert ("coatcheck: not ready after 0.5 s: 'missing'\n" * (status == 124)) == done.stderr


def test_a_wait_can_be_interrupted(cli: CommandLine) -> None:
    """
    Ctrl-C ends a wait without a word, with a shell's status.
    """
    process = cli.start("wait", "done", "never")
    assert process.stdout is not None
    with cli.results as results:
        results.store_result("done")
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)

    assert (130, "") == (process.returncode, stderr)


def test_an_unreadable_record_is_said(cli: CommandLine) -> None:
    """
    A record whose state cannot be read keeps a wait going, and its user is told, once.
    """
    with cli.results as results:
        raw = results.backend.backend  # type: ignore[attr-defined]
        raw.put("celery-task-meta-t", b"\xff\xff", unless=frozenset(), expires=None)
    done = cli("wait", "t", "--timeout", "1.5")

    assert 124 == done.returncode
    first, second = done.stderr.splitlines()
    assert first.startswith("coatcheck: the record of task 't' cannot be read")
    assert first.endswith("; still waiting")
    assert "not ready after 1.5 s" in second


def test_a_store_that_is_away_is_said_at_once(cli: CommandLine) -> None:
    """
    A store that cannot be read at the start is one line and status 2, without any wait.
    """
    (cli.directory / "results.db").write_text("no database " * 100)
    done = cli("wait", "t")

    assert (2, "") == (done.returncode, done.stdout)
    assert 1 == done.stderr.count("\n")


def test_a_store_that_goes_away_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """
    An error of the store is shown while the wait goes on, once, and so is its end.
    """
    with coatcheck.by_url("memory://cli-wait") as results:
        watch = _Watch(results, Lines(["t"], json=False))
        works = results.backend.get_many
        away = coatcheck.BackendUnavailableError("nobody home")
        results.backend.get_many = Mock(side_effect=away)  # type: ignore[method-assign]
        watch._look()
        watch._look()
        assert "coatcheck: nobody home; still waiting\n" == capsys.readouterr().err
        results.backend.get_many = works  # type: ignore[method-assign]
        watch._look()
        watch._look()
        assert "coatcheck: the store answers again\n" == capsys.readouterr().err


def test_progress_bars(cli: CommandLine) -> None:
    """
    In a terminal each task has a bar with its state and progress, and there is one for all.
    """
    with cli.results as results, cli.terminal("wait", "a", "b") as terminal:
        results.update_state("a", "PROGRESS", {"current": 123, "total": 1500})
        terminal.read_until("123/1500 (8%)")
        terminal.read_until("━")
        assert "2 tasks" in terminal.shown
        assert "unknown" in terminal.shown
        results.store_result("a", "the end")
        results.mark_as_failure("b", ValueError("broken"))
        status = terminal.finish()

    assert 1 == status
    assert "SUCCESS" in terminal.shown
    assert "the end" in terminal.shown
    assert "ValueError: broken" in terminal.shown
    assert "\x1b[" in terminal.raw


def test_bars_are_few(cli: CommandLine) -> None:
    """
    Of many tasks a dozen have a bar at a time; all are waited for.
    """
    ids = [f"task-{number:02}" for number in range(30)]
    with cli.results as results, cli.terminal("wait", *ids) as terminal:
        terminal.read_until("task-11")
        assert "task-12" not in terminal.shown
        results.store_many(dict.fromkeys(reversed(ids), 1))
        status = terminal.finish()

    assert 0 == status
    assert "30 tasks" in terminal.shown
    assert "30 over" in terminal.shown


def test_bars_beside_lines(cli: CommandLine) -> None:
    """
    Where stderr alone is a terminal, it has the bars, and stdout the lines.
    """
    with cli.results as results:
        results.store_result("a", "x")
    pipe = subprocess.PIPE
    with cli.terminal("wait", "a", "b", "--timeout", "0.5", stdout=pipe) as terminal:
        status = terminal.finish()
        assert terminal.process.stdout is not None
        lines = terminal.process.stdout.read()

    assert 124 == status
    assert "coatcheck: not ready after 0.5 s: 'b'" in terminal.shown
    assert "SUCCESS" in terminal.shown
    assert b"a\tSUCCESS\tx\n" == lines


def test_json_in_a_terminal(cli: CommandLine) -> None:
    """
    With --json a terminal shows the JSON lines and no bars between them.
    """
    with cli.results as results:
        results.store_result("a", "x")
    with cli.terminal("wait", "a", "--json", columns=1000) as terminal:
        assert 0 == terminal.finish()

    assert "x" == json.loads(terminal.raw)["result"]
