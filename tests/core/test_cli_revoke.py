"""
`coatcheck revoke`.
"""

import json
from pathlib import Path

import pytest
from support.cli import CommandLine

import coatcheck


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_tasks_are_revoked(cli: CommandLine) -> None:
    """
    Tasks are revoked with the reason, started or not; one that is over stays, with status 2.
    """
    with cli.results as results:
        results.mark_as_started("a")
        results.store_result("over", 1)
        done = cli("revoke", "a", "over", "b", "--reason", "not needed")

        assert (2, "") == (done.returncode, done.stdout)
        assert (
            "coatcheck: task 'over' is over already (SUCCESS): it was not revoked\n" == done.stderr
        )
        for task_id in ("a", "b"):
            with pytest.raises(coatcheck.TaskRevokedError, match="not needed"):
                results.AsyncResult(task_id).get(timeout=0)


def test_revoked_as_json(cli: CommandLine) -> None:
    """
    --json has an object for each id.
    """
    with cli.results as results:
        results.store_result("over", 1)
    done = cli("revoke", "a", "over", "--json")

    expected = [{"task_id": "a", "revoked": True}, {"task_id": "over", "revoked": False}]
    assert expected == [json.loads(line) for line in done.stdout.splitlines()]
    assert 2 == done.returncode
