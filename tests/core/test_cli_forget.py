"""
`coatcheck forget` and `coatcheck purge`.
"""

import json
from pathlib import Path

import pytest
from support.cli import CommandLine, until

import coatcheck


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_records_are_forgotten(cli: CommandLine) -> None:
    """
    The records are gone, ready or not, and the others stay; nothing is printed.
    """
    with cli.results as results:
        results.store_many({"a": 1, "b": 2, "c": 3})
        results.mark_as_started("d")
        done = cli("forget", "a", "b", "d", "a")

        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
        assert ["c"] == [meta.task_id for meta in results.scan()]


def test_what_was_not_there(cli: CommandLine) -> None:
    """
    For an unknown id one line says so, the status is 4, and the others are forgotten.
    """
    with cli.results as results:
        results.store_many({"a": 1, "b": 2})
        done = cli("forget", "a", "nothing", "b")

        assert (4, "") == (done.returncode, done.stdout)
        assert done.stderr.startswith("coatcheck: nothing is stored for task 'nothing'")
        assert [] == list(results.scan())


def test_forgotten_as_json(cli: CommandLine) -> None:
    """
    --json has an object for each id.
    """
    with cli.results as results:
        results.store_result("a", 1)
    done = cli("forget", "a", "b", "--json")

    assert (4, "") == (done.returncode, done.stderr)
    assert [{"task_id": "a", "forgotten": True}, {"task_id": "b", "forgotten": False}] == [
        json.loads(line) for line in done.stdout.splitlines()
    ]


def test_nothing_is_forgotten_where_one_id_cannot_be(cli: CommandLine) -> None:
    """
    A wrong id, no id, or a store that is read-only: nothing is deleted, and one line says why.
    """
    with cli.results as results:
        results.store_result("a", 1)
        read_only = f"{cli.url}?read_only=1"

        for arguments, said in (
            (["forget", "a", ""], "a task id cannot be ''"),
            (["forget"], "Missing argument 'ID...'"),
            (["forget", "a", "--backend", read_only], "read-only"),
            (["purge", "--backend", read_only], "read-only"),
        ):
            done = cli(*arguments)
            assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
            assert said in done.stderr
        assert results.exists("a")


def test_expired_records_are_purged(cli: CommandLine) -> None:
    """
    Expired records are deleted and counted, the others stay.
    """
    url = f"file://{cli.directory}/records"
    with coatcheck.by_url(url) as results:
        for task_id in ("a", "b"):
            results.store_result(task_id, 1, expires=0.01)
        results.store_result("c", 1)
        until(lambda: not results.exists("b"))
        purged = [cli("purge", "--backend", url).stdout for _ in range(2)]
        results.store_result("a", 1, expires=0.01)
        until(lambda: not results.exists("a"))

        assert ["2 expired records deleted\n", "0 expired records deleted\n"] == purged
        assert {"purged": 1} == json.loads(cli("purge", "--json", "--backend", url).stdout)
        assert results.exists("c")
    assert ["celery-task-meta-c"] == [p.name for p in (cli.directory / "records").iterdir()]
