"""
`coatcheck reap`, and the losses of tasks that nobody waits for.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from support.cli import CommandLine, until

import coatcheck
from coatcheck._results import losses

#: The heartbeat of a worker that is gone.
GONE = {"every": 0.05, "beat": 1}


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_a_killed_worker(cli: CommandLine) -> None:
    """
    After `kill -9` of a worker its task is found, named and recorded as failed.
    """
    process = cli.start("run", "--id", "t\x1b[31m", "--heartbeat", "0.1", "--", "sleep", "0.5")
    with cli.results as results:
        until(lambda: results.get_state("t\x1b[31m") == "STARTED")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = cli("reap")

        assert 0 == done.returncode
        assert done.stdout.startswith("t\\x1b[31m\tWorkerLostError: worker ")
        assert "coatcheck: 1 task with a lost worker recorded as failed\n" == done.stderr
        assert "FAILURE" == results.get_state("t\x1b[31m")
    assert "0 tasks" in cli("reap").stderr


def test_a_dry_run(cli: CommandLine) -> None:
    """
    `--dry-run` names lost workers, of the given tasks alone, and records nothing.
    """
    with cli.results as results:
        for task_id in ("one", "other"):
            results.store_result(task_id, None, "STARTED", heartbeat=GONE)
        done = cli("reap", "one", "--dry-run", "--json")

        assert ["one"] == [json.loads(line)["task_id"] for line in done.stdout.splitlines()]
        assert {"STARTED"} == {meta.status for meta in results.scan()}


def test_help_has_examples(cli: CommandLine) -> None:
    """
    `--help` shows how the command is used.
    """
    assert "coatcheck reap --dry-run" in cli("reap", "--help").stdout


def test_a_store_that_lists_nothing(cli: CommandLine) -> None:
    """
    The error names the capability that is missing.
    """
    done = cli("reap", "--backend", "disabled://")

    assert 2 == done.returncode
    assert "SCAN" in done.stderr


def test_a_record_that_goes(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A task whose record is forgotten meanwhile is not lost, and keeps nobody waiting for ever.
    """
    monkeypatch.setattr(losses, "CHECK_PATIENCE", 0.2)
    with cli.results as results:
        results.store_result("gone", None, "STARTED", heartbeat={"every": 0.2, "beat": 1})
        forgetting = coatcheck.by_url(cli.url)
        reading = results.scan()
        monkeypatch.setattr(
            results, "scan", lambda: (forgetting.forget(m.task_id) and m for m in reading)
        )

        assert [] == results.reap()
        forgetting.close()


def test_a_damaged_heartbeat() -> None:
    """
    A heartbeat whose moment is no moment has no age.
    """
    with coatcheck.by_name("memory") as results:
        for at in ("soon", 10**400, -1, None):
            results.store_result("t", None, "STARTED", heartbeat={**GONE, "at": at})
            assert results.get_task_meta("t").heartbeat_age is None
