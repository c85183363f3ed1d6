"""
What coatcheck costs on PostgreSQL and SQLite, against psycopg and sqlite3 doing the same by hand in the
same run.

"By hand" is `json.dumps`, one upsert that notifies, and a select; a wait is LISTEN. The server
does not wait for its disk. On SQLite, `sqlite://` is the core's own and `db+sqlite://` this one, and by hand
it is a table of keys and values. See docs/reference/performance.md. Prints a table and JSON.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import bench_mongo  # noqa: E402
import harness  # noqa: E402
import sql_contenders as contenders  # noqa: E402
import sqlite_contenders  # noqa: E402
from bench_mongo import QUICK, Size, Throughput  # noqa: E402
from harness import Row  # noqa: E402

from support.sql import PostgreSQLServer, SQLiteFile  # noqa: E402

PARTS = ("sync", "aio", "wake", "sqlite")


def measured(size: Size, parts: Sequence[str]) -> Iterator[Row]:
    """
    Iterate over the rows of *parts*.
    """
    if "sqlite" in parts:
        yield from sqlite_rows(size)
    if set(parts) == {"sqlite"}:
        return
    with PostgreSQLServer() as server:
        for part, asynchronous in (("sync", False), ("aio", True)):
            if part in parts:
                made = Throughput(server, size, "", asynchronous=asynchronous, among=contenders)
                yield from made.rows()
                made.close()
        for asynchronous in (False, True):
            if "wake" in parts:
                yield from bench_mongo.wake_rows(
                    server, size, asynchronous=asynchronous, among=contenders, where=""
                )


class OwnFile(SQLiteFile):
    """
    A database of the core's own.
    """

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"


def sqlite_rows(size: Size) -> Iterator[Row]:
    """
    Iterate over the rows of both kinds of SQLite.
    """
    for label, kind in (("sqlite", OwnFile), ("db+sqlite", SQLiteFile)):
        with TemporaryDirectory() as directory:
            file = kind(Path(directory) / "results.db")
            made = Throughput(file, size, label, asynchronous=False, among=sqlite_contenders)
            yield from made.rows()
            made.close()


def main() -> int:
    """
    Measure; with `--strict`, say by the exit status whether every target is met.
    """
    parser = argparse.ArgumentParser(description="What coatcheck costs on PostgreSQL.")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--strict", action="store_true", help="a missed target is an error")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; repeatable")
    parser.add_argument("--json", type=Path, help="where the JSON is written")
    options, _ = parser.parse_known_args()  # those of other benchmarks are not ours
    rows = []
    for row in measured(QUICK if options.quick else Size(), options.only or PARTS):
        print(harness.line(row), file=sys.stderr, flush=True)
        rows.append(row)
    harness.report(rows, about={"server": "PostgreSQL 15"}, notes=[], path=options.json)
    return 1 if options.strict and any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
