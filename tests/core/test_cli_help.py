"""
What every command has: help with examples, and output that no record can use to command a terminal.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import click
import pytest
from support.cli import ESCAPES, CommandLine

from coatcheck.cli.group import coatcheck

HOSTILE = "\x1b[2J\x9b31m\u202e\u2066\u200e\u2028\u2029\x7f\x85\r"
HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
COMMANDS = coatcheck.list_commands(click.Context(coatcheck))
#: Those that show nothing of a store in a terminal, and the view that `test_watch.py` tries.
SILENT = {"certify", "completion", "new-backend", "serve", "version", "watch"}
#: How to call the others, with a word that each shows.
CALLS = {
    "backends": ([], "sqlite"),
    "doctor": ([], "records"),
    "events": (["e"], "SUCCESS"),
    "forget": (["t", HOSTILE, f"absent {HOSTILE}"], "absent"),
    "get": ([HOSTILE], "TaskRevokedError"),
    "list": (["--limit", "2"], "more"),
    "migrate": (["sqlite:///{0}/results.db", "file://{0}/other"], "6 of 6"),
    "purge": ([], "deleted"),
    "reap": ([], "WorkerLostError"),
    "revoke": ([f"new {HOSTILE}", "t"], "over already"),
    "run": (["--id", HOSTILE, "--", "true"], "over already"),
    "stats": ([], "STATE"),
    "wait": ([HOSTILE, "t"], "REVOKED"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_examples(name: str) -> None:
    """
    The help of each command ends with examples that call it.
    """
    command = coatcheck.get_command(click.Context(coatcheck), name)
    assert command is not None
    text = command.get_help(click.Context(command, info_name=name))
    _, _, examples = text.partition("Examples:\n")

    assert re.search(rf"^ +(eval \"\$\()?coatcheck {name}\b", examples, re.MULTILINE)


def test_all_commands_are_tried() -> None:
    """
    A new command is called here with hostile records, or shows none.
    """
    assert set(COMMANDS) == CALLS.keys() | SILENT


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """
    A store whose records have control characters in their ids, fields, values and states.
    """
    cli = CommandLine(tmp_path_factory.mktemp("hostile"))
    fields = {"name": HOSTILE, "worker": HOSTILE}
    with cli.results as results:
        results.mark_as_revoked(HOSTILE, HOSTILE, **fields)
        results.mark_as_failure("t", ValueError(HOSTILE), traceback=HOSTILE, **fields)
        results.store_result(f"value {HOSTILE}", {HOSTILE: HOSTILE}, **fields)
        results.store_result(f"state {HOSTILE}", 1, **fields)
        with results.running("e", **fields) as task:
            task.emit({HOSTILE: HOSTILE})
        beat = {"every": 0.1, "beat": 1}
        results.update_state(f"lost {HOSTILE}", "STARTED", heartbeat=beat, **fields)
    path = cli.directory / "results.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        change = (
            "UPDATE coatcheck_records SET value = replace(value, 'SUCCESS', ?) WHERE key LIKE ?"
        )
        connection.execute(change, ("\\u001b[2JODD", "%state %"))
    return path.read_bytes()


@pytest.mark.parametrize("name", CALLS)
def test_no_command_passes_control_characters_on(tmp_path: Path, store: bytes, name: str) -> None:
    """
    Whatever a store holds, and whatever id is asked for, a terminal gets no control characters of it.
    """
    (tmp_path / "results.db").write_bytes(store)
    arguments, shown = CALLS[name]
    arguments = [word.format(tmp_path) for word in arguments]
    with CommandLine(tmp_path).terminal(name, *arguments) as terminal:
        terminal.finish()
    text = ESCAPES.sub("", terminal.raw.replace("\r\n", "\n")).replace("\r", "")

    assert HARMFUL.search(text) is None, terminal.raw
    assert shown in text, terminal.raw
