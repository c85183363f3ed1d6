"""
What coatcheck costs on the embedded stores: SQLite against the module sqlite3 doing the same by hand in
the same run, and the waits on SQLite and on files.

See docs/reference/performance.md for what each row is. Prints a table and JSON.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import contenders
import harness
import looking
from harness import OURS, RAW, Row

MANY = 1_000
_SCHEMA = "CREATE TABLE records (key TEXT PRIMARY KEY, value BLOB, expires_at REAL) WITHOUT ROWID"
_STORE = (
    "INSERT INTO records VALUES (?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"
)


class Raw(contenders.Contender):
    """
    sqlite3 by hand: a write-ahead log, and no more sync than ours.
    """

    def __init__(self, path: Path) -> None:
        self.client = sqlite3.connect(path, isolation_level=None)
        self.client.execute("PRAGMA journal_mode = WAL")
        self.client.execute("PRAGMA synchronous = NORMAL")
        self.client.execute(_SCHEMA)

    def _row(self, task_id: str) -> tuple[str, bytes, float]:
        data = json.dumps(contenders.document(task_id, self.value)).encode()
        return contenders.PREFIX + task_id, data, time.time() + contenders.EXPIRES

    def store(self, task_id: str) -> None:
        self.client.execute(_STORE, self._row(task_id))

    def fetch(self, task_id: str) -> None:
        query = "SELECT value FROM records WHERE key = ? AND expires_at > ?"
        found = self.client.execute(query, (contenders.PREFIX + task_id, time.time()))
        contenders.touch(found.fetchone()[0])

    def store_many(self, task_ids: Sequence[str]) -> None:
        self.client.execute("BEGIN IMMEDIATE")
        self.client.executemany(_STORE, map(self._row, task_ids))
        self.client.execute("COMMIT")

    def get_many(self, task_ids: Sequence[str]) -> None:
        marks = ", ".join("?" * len(task_ids))
        query = f"SELECT value FROM records WHERE key IN ({marks}) AND expires_at > ?"
        keys = [contenders.PREFIX + task_id for task_id in task_ids]
        for (data,) in self.client.execute(query, (*keys, time.time())):
            contenders.touch(data)

    def close(self) -> None:
        self.client.close()


def throughput_rows(directory: Path, rounds: int, operations: int) -> Iterator[Row]:
    """
    Return rows on operations of both.
    """
    ours = contenders.Coatcheck(f"sqlite:///{directory / 'ours.db'}")
    made: dict[str, Any] = {OURS: ours, RAW: Raw(directory / "raw.db")}
    read = [f"read-{number}" for number in range(MANY)]
    for who in made.values():
        who.store_many(read)
    for operation, each, target in (
        ("store", operations, 0.5),
        ("fetch", operations, 0.35),
        ("store_many", MANY, None),
        ("get_many", MANY, None),
    ):

        def sample(number: int, name: str, operation: str = operation, each: int = each) -> float:
            act = getattr(made[name], operation)
            fresh = [f"{operation}-{number}-{i}" for i in range(each)]
            ids = fresh if "store" in operation else read[:each]
            if "many" in operation:
                return harness.timed(lambda: act(ids))
            return harness.timed(lambda: [act(id_) for id_ in ids])

        sampling = {name: lambda n, name=name: sample(n, name) for name in made}
        samples = harness.in_turns(sampling, rounds)
        title = f"SQLite {operation}" + (f" of {MANY:,}" if each == MANY else "")
        yield harness.speed(title, samples, each=each, target=target)
    for who in made.values():
        who.close()


def measured(directory: Path, *, quick: bool, parts: Sequence[str]) -> Iterator[Row]:
    """
    Iterate over the rows of *parts*.
    """
    if "sync" in parts:
        with harness.on_one_cpu():
            yield from throughput_rows(directory, 11 if quick else 41, 100 if quick else 200)
    if "wake" in parts:
        wakes, late = (40, 5) if quick else (1_000, 20)
        for scheme, name in (("sqlite", "wakes.db"), ("file", "wakes")):
            url, label = f"{scheme}:///{directory / name}", f"{scheme} "
            yield from looking.wake_rows(url, wakes=wakes, late_wakes=late, label=label)


PARTS = ("sync", "wake")


def main() -> int:
    """
    Measure; with `--strict`, say by the exit status whether every target is met.
    """
    parser = argparse.ArgumentParser(description="What coatcheck costs on the embedded stores.")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--strict", action="store_true", help="a missed target is an error")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; repeatable")
    parser.add_argument("--json", type=Path, help="where the JSON is written")
    options, _ = parser.parse_known_args()  # those of other benchmarks are not ours
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        parts = options.only or PARTS
        for row in measured(Path(directory), quick=options.quick, parts=parts):
            print(harness.line(row), file=sys.stderr, flush=True)
            rows.append(row)
    harness.report(rows, about={"server": sqlite3.sqlite_version}, notes=[], path=options.json)
    return 1 if options.strict and any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
