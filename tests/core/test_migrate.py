"""
Migrations: records and groups of one store in another, and `coatcheck migrate`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.cli import CommandLine, until

import coatcheck
from coatcheck import Backend, Migrated, Results, hookimpl, migrate
from coatcheck._embedded.memory import MemoryBackend

Open = Callable[..., Results]
KEYS = {"encryption_keys": "old:" + "k" * 32}
OTHERS = {"signing_keys": "new:" + "n" * 32}


@pytest.fixture
def stores(tmp_path: Path) -> Open:
    """
    Opens a store by a name of "sqlite" or "file", and a number.
    """

    def open_(kind: str, number: int = 1, **options: Any) -> Results:
        place = tmp_path / f"{kind}{number}"
        url = f"sqlite:///{place}.db" if kind == "sqlite" else f"file://{place}"
        return coatcheck.by_url(url, **options)

    return open_


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def data(results: Results, task_id: str) -> bytes:
    """
    Return the bytes of a record.
    """
    version: bytes = results.get_task_meta(task_id).version
    return version


def lives(results: Results, *ids: str, groups: bool = False) -> list[float | None]:
    """
    Return the remaining lives of records, rounded.
    """
    found = results.backend.lives(ids, groups=groups)
    return [None if (s := found[id_]) is None else round(s, -1) for id_ in ids]


@pytest.mark.parametrize(("source", "target"), [("sqlite", "file"), ("file", "sqlite")])
def test_records_and_groups(stores: Open, source: str, target: str) -> None:
    """
    Records of all states come over byte by byte, with their remaining lives, and groups with them.
    """
    with stores(source) as old, stores(target, expires=7) as new:
        old.store_result("kept", {"when": timedelta(days=3)}, expires=None)
        old.store_result("failed", ValueError("no"), "FAILURE", expires=500)
        old.store_result("running", {"current": 1, "total": 3}, "PROGRESS", expires=900)
        old.save_group("g", ["kept", "failed"], expires=300)
        counts = migrate(old, new)

        assert Migrated(copied=3, groups=1, verified=3) == counts
        assert counts.complete
        ids = ["kept", "failed", "running"]
        assert [data(old, id_) for id_ in ids] == [data(new, id_) for id_ in ids]
        assert [math.inf, 500, 900] == lives(new, *ids)
        assert [300] == lives(new, "g", groups=True)
        assert ["kept", "failed"] == [one.id for one in new.restore_group("g")]


def test_records_that_are_there_stay(stores: Open) -> None:
    """
    A ready record of the target stays whatever the source has, an unready one gives way to a ready one only.
    """
    with stores("sqlite") as old, stores("file") as new:
        for task_id, ours, theirs in (
            ("both", "SUCCESS", "SUCCESS"),
            ("over", "STARTED", "SUCCESS"),
            ("done", "SUCCESS", "STARTED"),
            ("begun", "STARTED", "STARTED"),
        ):
            old.store_result(task_id, "old", ours)
            new.store_result(task_id, "new", theirs)
        old.save_group("g", ["both"])
        new.save_group("g", ["over"])
        counts = migrate(old, new)

        assert (1, 3, 0, 1) == (counts.copied, counts.there, counts.groups, counts.groups_there)
        found = new.get_many(["both", "over", "done", "begun"])
        assert ["new", "new", "old", "new"] == [meta.result for meta in found.values()]
        assert "SUCCESS" == found["over"].status
        assert ["over"] == [one.id for one in new.restore_group("g")]


def test_again(stores: Open) -> None:
    """
    A migration that is repeated writes nothing a second time, and brings later records.
    """
    with stores("sqlite") as old, stores("file") as new:
        old.store_many({f"t{n}": n for n in range(1200)})
        assert Migrated(copied=1200, verified=1200) == migrate(old, new)
        old.store_result("late", 1)
        assert Migrated(copied=1, there=1200, verified=1201) == migrate(old, new)


def test_records_nobody_can_read(stores: Open) -> None:
    """
    A damaged record, one of a serializer that is refused, and an encrypted one without its key come over as they are.
    """
    odd = {"damaged": b'{"status": "SUCCESS", "res', "pickled": b"\x80\x04}.", "empty": b"?"}
    with stores("sqlite") as old, stores("sqlite", **KEYS) as signing, stores("file") as new:
        signing.store_result("sealed", 1)
        signing.save_group("sealed group", ["sealed"])
        for task_id, bytes_ in odd.items():
            key = f"celery-task-meta-{task_id}"
            old.backend.backend.put(key, bytes_, unless=frozenset(), expires=100)
        assert Migrated(copied=4, groups=1, verified=4) == migrate(old, new)
        assert odd == {task_id: data(new, task_id) for task_id in odd}
        with stores("file", **KEYS) as reading:
            assert 1 == reading.get_result("sealed")
            assert ["sealed"] == [one.id for one in reading.restore_group("sealed group")]


def test_other_keys(stores: Open) -> None:
    """
    Records are sealed anew for a target with other keys, if those of the source are there; those of the same key
    stay as they are.
    """
    with stores("sqlite", **KEYS) as old, stores("file", 1, **OTHERS) as new:
        old.store_result("t", {"a": 1})
        old.save_group("g", ["t"])
        with stores("file", 2, **KEYS) as same:
            assert migrate(old, new).complete
            assert migrate(old, same).complete
            assert {"a": 1} == new.get_result("t")
            assert ["t"] == [one.id for one in new.restore_group("g")]
            assert data(old, "t") == data(same, "t")
    with stores("sqlite", 2) as unsigned:
        unsigned.store_result("plain", 2)
        assert migrate(unsigned, new).complete
        assert 2 == new.get_result("plain")


def test_too_large(stores: Open) -> None:
    """
    A record that the target does not take is reported, and all others come over.
    """
    lost = {}
    with stores("sqlite") as old, stores("file") as new:
        new.backend.backend.max_value_bytes = 2_000
        old.store_many({"large": "x" * 3_000, "small": 1, "little": 2})
        counts = migrate(old, new, on_failure=lost.__setitem__)

        assert Migrated(copied=2, failed=1, verified=2, missing=1) == counts
        assert not counts.complete
        assert isinstance(lost["large"], coatcheck.ResultTooLargeError)


def test_a_record_that_expires(stores: Open) -> None:
    """
    A record that expires during the copy is not brought to life again.
    """

    class Slow:
        @hookimpl
        def read(self):
            until(lambda: not old.exists("short"))

    with stores("sqlite") as old, stores("file", plugins=[Slow()]) as new:
        old.store_result("short", 1, expires=0.2)
        old.store_result("long", 1)
        counts = migrate(old, new)

        assert (1, 1, 1) == (counts.copied, counts.gone, counts.verified)
        assert data(old, "long") == data(new, "long")


def test_a_record_that_comes(stores: Open) -> None:
    """
    A record that is stored behind the copy is missing at the end: the source is still in use.
    """
    with stores("sqlite") as old, stores("file") as new:
        old.store_result("t", 1)
        counts = migrate(old, new, on_progress=lambda _: old.store_result("late", 1))

        assert (1, 1) == (counts.verified, counts.missing)


class Mute(MemoryBackend):
    """
    A store that cannot tell how long a record lives.
    """

    lives = Backend.lives  # type: ignore[assignment]


def test_unknown_lives(stores: Open) -> None:
    """
    If the store cannot tell the remaining life, the record's own date does, and for other programs' records
    the target's default counts.
    """
    with Results(Mute()) as old, stores("file", expires=50) as new:
        old.store_result("dated", 1, expires=200)
        old.store_result("kept", 1, expires=None)
        foreign = b'{"status": "SUCCESS", "result": 1}'
        old.backend.backend.put("celery-task-meta-c", foreign, unless=frozenset(), expires=None)
        counts = migrate(old, new)

        assert (3, 1) == (counts.copied, counts.default_life)
        assert [200, math.inf, 50] == lives(new, "dated", "kept", "c")


def test_without_a_write(stores: Open) -> None:
    """
    A dry run counts and writes nothing; a state leaves out others, and groups.
    """
    with stores("sqlite") as old, stores("file") as new:
        old.store_many({"a": 1, "b": 2})
        old.store_result("c", ValueError(), "FAILURE")
        old.save_group("g", ["a"])

        assert Migrated(copied=3, groups=1) == migrate(old, new, dry_run=True)
        assert [] == [*new.scan()]
        assert Migrated(copied=1, verified=1) == migrate(old, new, state="FAILURE")


def test_itself(stores: Open) -> None:
    """
    A store is not copied to itself.
    """
    with stores("sqlite") as old, pytest.raises(coatcheck.ArgumentError, match="another store"):
        migrate(old, old)


# -- the command line ---------------------------------------------------------------------------


def test_command(cli: CommandLine) -> None:
    """
    The command prints its counts, as words and as JSON.
    """
    target = f"file://{cli.directory}/files"
    with cli.results as results:
        results.store_many({f"t{n}": n for n in range(5)})
        results.save_group("g", ["t1"])
    trial = cli("migrate", cli.url, target, "--dry-run")
    done = cli("migrate", cli.url, target)
    again = json.loads(cli("migrate", cli.url, target, "--json").stdout)

    assert "5 records and 1 group would be copied\n" == trial.stdout
    assert ("5 records and 1 group copied\nverified: 5 of 5 records in the target\n") == done.stdout
    assert (0, "") == (done.returncode, done.stderr)
    assert (0, 5, 5, True) == tuple(again[k] for k in ("copied", "there", "verified", "complete"))


def test_command_filters(cli: CommandLine) -> None:
    """
    Filters copy only the tasks that meet them.
    """
    target = f"file://{cli.directory}/files"
    with cli.results as results:
        results.store_result("a", 1)
        results.store_result("b", ValueError("no"), "FAILURE")
        results.save_group("g", ["a"])
    done = cli("migrate", cli.url, target, "--state", "failure", "--since", "1h")

    assert done.stdout.startswith("1 record and 0 groups copied")
    with coatcheck.by_url(target) as new:
        assert ["b"] == [meta.task_id for meta in new.scan()]


def test_command_reports_failures(cli: CommandLine) -> None:
    """
    A record that could not be copied has a line of its own, without control characters, and the status is 1.
    """
    source = cli.directory / "files"
    source.mkdir()
    with (source / "celery-task-meta-g\x1b[2J").open("wb") as large:
        large.truncate(2**30)
    done = cli("migrate", f"file://{source}", cli.url)
    told = cli("migrate", f"file://{source}", cli.url, "--json").stdout.splitlines()

    assert 1 == done.returncode
    assert "coatcheck: g\\x1b[2J: " in done.stderr
    assert "1 could not be copied" in done.stdout
    assert "g\x1b[2J" == json.loads(told[0])["id"]
    assert 1 == json.loads(told[1])["failed"]


def test_command_in_a_terminal(cli: CommandLine) -> None:
    """
    Bars show how far the copy is, and how far the look at the end.
    """
    with cli.results as results:
        results.store_many({f"t{n}": n for n in range(700)})
    with cli.terminal("migrate", cli.url, f"file://{cli.directory}/files", columns=80) as terminal:
        assert 0 == terminal.finish()
    assert "700/700" in terminal.shown
    assert "verifying" in terminal.shown


def test_command_after_a_kill(cli: CommandLine) -> None:
    """
    A migration that was killed goes on when it is started again, and nothing is lost or copied twice.
    """
    target = f"file://{cli.directory}/files"
    with cli.results as results, coatcheck.by_url(target) as new:
        results.store_many({f"t{n}": n for n in range(6_000)})
        process = cli.start("migrate", cli.url, target)
        until(lambda: next(new.backend.scan(), None))
        process.kill()
        process.communicate()
        half = sum(1 for _ in new.backend.scan())
        counts = json.loads(cli("migrate", cli.url, target, "--json").stdout)

        assert 0 < half < 6_000
        assert (6_000 - half, half) == (counts["copied"], counts["there"])
        assert 6_000 == counts["verified"]
        assert all(f"t{meta.result}" == meta.task_id for meta in new.scan())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["memory://a", "memory://a"], "the same store"),
        (["memory://a", "memory://b", "--backend", "memory://"], "not by --backend"),
        (["disabled://", "memory://"], "SCAN"),
        (["nothing://", "memory://"], "nothing"),
    ],
)
def test_command_misused(cli: CommandLine, arguments: list[str], reason: str) -> None:
    """
    A mistake is one line, and the status is 2.
    """
    done = cli("migrate", *arguments)

    assert 2 == done.returncode
    assert reason in done.stderr
