"""
`coatcheck list` with filters, orders and cursors.
"""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.cli import CommandLine

from coatcheck.cli import main
from coatcheck.cli.filters import moment

NOW = datetime.now(UTC)


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """
    The command line, with a store of a few tasks.
    """
    cli = CommandLine(tmp_path)
    with cli.results as results:
        results.store_result("a-done", 1, name="x", worker="w", group_id="g")
        results.mark_as_failure("a-failed", ValueError(), name="x")
        for n in range(3):
            results.mark_as_started(f"b{n}", name="y", date_started=NOW - timedelta(hours=3 - n))
    return cli


def ids(output: str) -> list[str]:
    """
    Return the ids in the table that a program gets.
    """
    return [line.split("\t")[1] for line in output.splitlines()[1:]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--name x --sort id", ["a-done", "a-failed"]),
        ("--name x --worker w", ["a-done"]),
        ("--group g", ["a-done"]),
        ("--prefix b --sort oldest", ["b0", "b1", "b2"]),
        ("--since 1h --state failure", ["a-failed"]),
        ("--before 1h", []),
        ("--since 2020-01-01 --before 2020-01-02T10:00Z", []),
        ("--since 2020-01-01 --sort id", ["a-done", "a-failed"]),
    ],
)
def test_filters(
    cli: CommandLine,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    expected: list[str],
) -> None:
    """
    Each option leaves out the tasks that it does not match; if none is left, the command says so.
    """
    status = main(["list", "--backend", cli.url, *arguments.split()])
    done = capsys.readouterr()

    assert (0, expected) == (status, ids(done.out))
    assert bool(expected) == (done.err == "")
    assert expected or f"no task that matches is stored in {cli.url}" in done.err


def test_nothing_in_a_state_that_matches(cli: CommandLine) -> None:
    """
    A state that no task has is named, with the one that was meant, although there are other filters.
    """
    done = cli("list", "--state", "sucess", "--name", "x")

    assert "no task in the state SUCESS that matches" in done.stderr
    assert "did you mean SUCCESS?" in done.stderr


@pytest.mark.parametrize("sort", ["newest", "oldest", "id"])
def test_pages(cli: CommandLine, sort: str) -> None:
    """
    The cursor on stderr, or that of the last object, leads to the next page, until there is no more.
    """
    every = ids(cli("list", "--sort", sort).stdout)
    first = cli("list", "--sort", sort, "--limit", "2")
    after = shlex.split(first.stderr)
    second = cli("list", "--sort", sort, "--limit", "2", *after[-2:])
    lines = cli("list", "--sort", sort, "--limit", "4", "--json").stdout.splitlines()
    last = cli("list", "--sort", sort, "--json", "--after", json.loads(lines[-1])["cursor"])

    assert ["coatcheck:", "more:", "add", "--after"] == after[:-1]
    assert every == [*ids(first.stdout), *ids(second.stdout), *every[4:]]
    assert every[4:] == [json.loads(line)["task_id"] for line in last.stdout.splitlines()]
    assert "" == last.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("1.5 h", timedelta(hours=1.5)),
        ("2w", timedelta(weeks=2)),
        ("2026-12-01T10:30+01:00", datetime(2026, 12, 1, 9, 30, tzinfo=UTC)),
        ("2026-12-01", datetime(2026, 12, 1).astimezone()),
    ],
)
def test_moments(text: str, expected: object) -> None:
    """
    An age has a unit; a time without a zone is that of the user's clock.
    """
    assert expected == moment(None, None, text)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "5", "3y", "yesterday", "9" * 400 + "d", "0001-01-01"])
def test_moments_that_cannot_be(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """
    Whatever else stands there is refused in one line that shows what may.
    """
    status, stderr = main(["list", "--since", text]), capsys.readouterr().err

    assert (2, 1) == (status, stderr.count("\n"))
    assert re.search("give an age such as 90s.*or a time such as 2026-12-01", stderr)
