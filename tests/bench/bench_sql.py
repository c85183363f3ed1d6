"""
What coatcheck costs on PostgreSQL and SQLite, against psycopg and sqlite3 doing the same by hand in the
same run.

"By hand" is `json.dumps`, one upsert that notifies, and a select; a wait is LISTEN. The server
does not wait for its disk. On SQLite it is a table of keys and values. See docs/reference/benchmarks.md.
Prints a table and JSON.
"""

from __future__ import annotations

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
    # The server's processes are held on the CPU on which it is started.
    with harness.on_one_cpu(), PostgreSQLServer() as server:
        for part, asynchronous in (("sync", False), ("aio", True)):
            if part in parts:
                made = Throughput(server, size, "", asynchronous=asynchronous, among=contenders)
                yield from made.rows()
                made.close()
    if "wake" not in parts:
        return
    with PostgreSQLServer() as server:
        for asynchronous in (False, True):
            yield from bench_mongo.wake_rows(
                server, size, asynchronous=asynchronous, among=contenders, where=""
            )


def sqlite_rows(size: Size) -> Iterator[Row]:
    """
    Iterate over the rows of SQLite.
    """
    with TemporaryDirectory() as directory:
        file = SQLiteFile(Path(directory) / "results.db")
        made = Throughput(file, size, "db+sqlite", asynchronous=False, among=sqlite_contenders)
        yield from made.rows()
        made.close()


def main() -> int:
    """
    Measure, by the command line.
    """
    options = harness.options_of(harness.parser_for("PostgreSQL and SQLite", PARTS), PARTS)
    rows = measured(QUICK if options.quick else Size(), options.only)
    return harness.concluded(rows, options, about={"server": "PostgreSQL 15"})


if __name__ == "__main__":
    sys.exit(main())
