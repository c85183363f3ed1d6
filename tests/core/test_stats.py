"""
`coatcheck stats`, and the counts of records by state and age.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.cli import CommandLine

import coatcheck
from coatcheck._results.counting import Sample


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_states_and_ages(cli: CommandLine) -> None:
    """
    Records are counted by state, and by the time since the task ended or began.
    """
    now = datetime.now(UTC)
    with cli.results as results:
        results.store_many({f"t{n}": n for n in range(5)})
        for n, age in enumerate((timedelta(minutes=5), timedelta(hours=5), timedelta(days=5))):
            results.mark_as_started(f"s{n}", date_started=now - age)
        results.store_result("odd", None, "ODD")
        done = cli("stats")

        assert (0, "") == (done.returncode, done.stderr)
        assert [
            ["STATE", "ALL", "< 1 MIN", "< 1 H", "< 1 D", "OLDER", "UNDATED"],
            ["ODD", "1", "0", "0", "0", "0", "1"],
            ["STARTED", "3", "0", "1", "1", "1", "0"],
            ["SUCCESS", "5", "5", "0", "0", "0", "0"],
        ] == [line.split("\t") for line in done.stdout.splitlines()]
    with cli.terminal("stats", columns=80) as terminal:
        assert 0 == terminal.finish()
    assert "SUCCESS    5        5" in terminal.shown


def test_a_sample(cli: CommandLine) -> None:
    """
    With more records than are read, the numbers are estimates, and the command says so.
    """
    with cli.results as results:
        results.store_many({f"t{n}": n for n in range(50)})
    done = cli("stats", "--sample", "10")
    data = json.loads(cli("stats", "--sample", "10", "--json").stdout)

    assert "SUCCESS\t50\t50" in done.stdout
    assert "10 of 50 records were read: the numbers are estimates" in done.stderr
    assert {
        "total": 50, "read": 10, "states": {"SUCCESS": {"minute": 10}}, "sampled": True
    } == data  # fmt: skip


def test_a_sample_is_fair() -> None:
    """
    Each id has the same chance to be chosen, early or late.
    """
    chosen = dict.fromkeys(range(10), 0)
    for _ in range(2_000):
        sample = Sample(5)
        for number in chosen:
            sample.add(str(number))
        for id_ in sample.ids:
            chosen[int(id_)] += 1

    assert all(800 < count < 1_200 for count in chosen.values())


def test_records_that_go(cli: CommandLine) -> None:
    """
    A record that goes between the list and the read is not counted.
    """
    sample = Sample(5)
    with cli.results as results:
        results.store_result("t", 1)
        for id_ in ("t", "gone"):
            sample.add(id_)
            sample.take(results.get_task_meta(id_))

    assert (1, 1, {"SUCCESS": {"minute": 1}}) == tuple(sample.stats)


def test_nothing_is_stored(cli: CommandLine) -> None:
    """
    An empty store has no states, and no count raises.
    """
    with cli.results as results:
        assert (0, 0, {}) == tuple(results.stats())
        assert 0 == results.stats().number("SUCCESS")


def test_a_sample_of_nothing(cli: CommandLine) -> None:
    """
    A sample has at least one record.
    """
    with cli.results as results, pytest.raises(coatcheck.ArgumentError, match="from 1 on"):
        results.stats(sample=0)
    assert 2 == cli("stats", "--sample", "0").returncode


def test_a_store_that_lists_nothing(cli: CommandLine) -> None:
    """
    The error names the capability that is missing.
    """
    assert "SCAN" in cli("stats", "--backend", "disabled://").stderr


def test_help_has_examples(cli: CommandLine) -> None:
    """
    `--help` shows how the command is used.
    """
    assert "coatcheck stats --sample 100000" in cli("stats", "-h").stdout
