"""
What coatcheck costs on the embedded stores: SQLite against the module sqlite3 doing the same by hand in
the same run, and the waits on SQLite and on files.

See docs/reference/benchmarks.md for what each row is. Prints a table and JSON.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import harness
import looking
import sqlite_contenders
from bench_mongo import QUICK, Size, Throughput
from harness import Row

PARTS = ("sync", "wake")


@dataclass
class File:
    """
    Where records are kept.
    """

    url: str


def measured(directory: Path, size: Size, parts: Sequence[str]) -> Iterator[Row]:
    """
    Iterate over the rows of *parts*.
    """
    if "sync" in parts:
        with harness.on_one_cpu():
            file = File(f"sqlite:///{directory / 'results.db'}")
            made = Throughput(file, size, "sqlite", asynchronous=False, among=sqlite_contenders)
            yield from made.rows()
            made.close()
    if "wake" in parts:
        wakes, late = (40, 5) if size is QUICK else (1_000, 20)
        for scheme, name in (("sqlite", "wakes.db"), ("file", "wakes")):
            url, label = f"{scheme}:///{directory / name}", f"{scheme} "
            yield from looking.wake_rows(url, wakes=wakes, late_wakes=late, label=label)


def main() -> int:
    """
    Measure, by the command line.
    """
    options = harness.options_of(harness.parser_for("the embedded stores", PARTS), PARTS)
    size = QUICK if options.quick else Size()
    with tempfile.TemporaryDirectory() as directory:
        rows = measured(Path(directory), size, options.only)
        return harness.concluded(rows, options, about={"server": sqlite3.sqlite_version})


if __name__ == "__main__":
    sys.exit(main())
