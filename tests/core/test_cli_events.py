"""
`coatcheck events` and `get --attempts`.
"""

import json
from pathlib import Path

import pytest
from support.cli import PATIENCE, CommandLine


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_events_so_far(cli: CommandLine) -> None:
    """Without --follow the command prints what is there; the status tells that the task goes on."""
    with cli.results as results, results.running("t") as task:
        task.progress(1, 4)
        task.emit({"text": "a\tb\x1b[31m"}, kind="log")
        done, later = cli("events", "t"), cli("events", "t", "--after", "2")

    assert (3, "") == (done.returncode, done.stderr)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert ["1", "2", "3"] == [line[0] for line in lines]
    assert ["STARTED", "progress", "log"] == [line[2] for line in lines]
    assert "1/4 (25%)" == lines[1][3]
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[2:] == later.stdout.splitlines()


def test_follow(cli: CommandLine) -> None:
    """--follow prints each event as it comes, up to the end; the status is the task's."""
    process = cli.start("events", "t", "--follow", "--json")
    assert process.stdout is not None
    with cli.results as results:
        with results.running("t") as task:
            task.emit([1, None], kind="log")
            events = [json.loads(process.stdout.readline()) for _ in range(2)]
            task.progress(2)
            events.append(json.loads(process.stdout.readline()))
        results.forget("other")
    stdout, stderr = process.communicate(timeout=PATIENCE)
    end = json.loads(stdout)

    assert (0, "") == (process.returncode, stderr)
    assert [1, 2, 3] == [event["number"] for event in events]
    assert ([1, None], "log") == (events[1]["data"], events[1]["kind"])
    assert (4, True, "SUCCESS") == (end["number"], end["last"], end["record"]["status"])


def test_unknown(cli: CommandLine) -> None:
    """A task of which nothing is known has no events, and the status says so."""
    with cli.results as results:
        results.store_result("other", 1)
    done = cli("events", "t")

    assert (4, "") == (done.returncode, done.stdout)
    assert "'t'" in done.stderr


def test_attempts(cli: CommandLine) -> None:
    """get --attempts prints a line for each attempt."""
    with cli.results as results:
        results.mark_as_started("t", worker="one")
        results.mark_as_retry("t", ValueError("again"))
        results.mark_as_done("t", 1, worker="two")
    done, data = cli("get", "t", "--attempts"), cli("get", "t", "--attempts", "--json")
    first, second = (line.split("\t") for line in done.stdout.splitlines())

    assert 0 == done.returncode
    assert ["RETRY", "one", "-", "ValueError: again"] == [*first[:3], first[4]]
    assert ["SUCCESS", "two", "-"] == [*second[:2], second[4]]
    assert ["one", "two"] == [json.loads(line)["worker"] for line in data.stdout.splitlines()]


def test_a_store_without_events(cli: CommandLine, tmp_path: Path) -> None:
    """A store that keeps no events says so on one line."""
    done = cli("--backend", f"file://{tmp_path}/records", "events", "t")

    assert (2, "") == (done.returncode, done.stdout)
    assert "does not support events" in done.stderr
    assert 1 == len(done.stderr.splitlines())
