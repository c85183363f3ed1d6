"""
The faults of SQLite files: the journal, the disk, the file system.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Final

from .._backends.checkup import Checkup, Finding, Level
from .._backends.portions import batches
from . import disk
from .sqlite_connections import Connection, Connections

_ENDLESS: Final = "SELECT count(*) FROM coatcheck_records WHERE expires_at IS NULL"


class SQLiteCheckup(Checkup):
    """The checks of one file."""

    def __init__(self, file: Connections) -> None:
        self._file = file
        self._read = partial(file.run, file.reading)

    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def findings(self) -> Iterator[Finding]:
        mode = self._read(_journal_mode)
        if mode != "wal":
            what = f"the journal mode is {mode}: readers and writers block each other"
            remedy = "permit writing to the file and its directory, on a local file system"
            yield Finding("journal", Level.WARNING, what, remedy)
        yield from disk.findings(self._file.path.parent)

    def endless(self, task_ids: Sequence[str]) -> int:
        keys = [self.key_prefix + task_id for task_id in task_ids]
        return sum(self._read(partial(_endless, batch)) for batch in batches(keys))


def _journal_mode(connection: Connection) -> str:
    return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def _endless(keys: Collection[str], connection: Connection) -> int:
    marks = ", ".join("?" * len(keys))
    count = f"{_ENDLESS} AND key IN ({marks})"
    return int(connection.execute(count, tuple(keys)).fetchone()[0])
