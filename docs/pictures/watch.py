"""
Draw `coatcheck watch` in a terminal, as `terminal.py` draws other commands.

    nox -s pictures
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyte
from terminal import COLUMNS, HERE, ROWS, drawn, shown

import coatcheck

#: How long the view runs before the picture is taken.
MOMENT = 8.0


def fill(results: coatcheck.Results) -> None:
    """
    Store the tasks of a shop.
    """
    now, dice = datetime.now(UTC), random.Random(1)
    for number in range(1180):
        began = now - timedelta(seconds=dice.randrange(20, 900))
        results.store_result(f"order-{number}", number, date_started=began, name="order")
    for number, reason in enumerate(("timed out", "connection refused", "no such mailbox")):
        error = ConnectionError(reason)
        results.store_result(f"receipt-{number}", error, "FAILURE", name="receipt")
    for name, current, total, age in (
        ("thumbnails", 37, 60, 41),
        ("report-2026-11", 3, 12, 312),
        ("export-orders", 18_400, 52_000, 95),
        ("import-prices", None, None, 4),
    ):
        progress = None if current is None else {"current": current, "total": total}
        state = "STARTED" if current is None else "PROGRESS"
        began = now - timedelta(seconds=age)
        results.store_result(name, progress, state, date_started=began, worker="shop-1")


def main() -> None:
    """
    Run the command and write the picture.
    """
    screen = pyte.Screen(COLUMNS, ROWS)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = os.environ | {"PATH": path, "TERM": "xterm"}
        env.pop("COLORTERM", None)
        with coatcheck.by_url("sqlite:///results.db") as results:
            fill(results)
        shown("coatcheck watch --backend sqlite:///results.db", screen, env, MOMENT)
    title = "A live view in a terminal: rates, counts by state, and four running tasks"
    (HERE / "watch.svg").write_text(drawn(screen, title), encoding="utf-8")


if __name__ == "__main__":
    main()
