"""
`coatcheck watch` on a store that wakes waiters.
"""

from __future__ import annotations

from pathlib import Path

from support.cli import CommandLine, until
from support.redis import RedisServer

import coatcheck
from coatcheck.cli._watch.feed import Feed
from coatcheck.cli._watch.rows import Rows


def test_push(shared_server: RedisServer) -> None:
    """
    Progress and the end of a running task are seen at once, although the records are listed once an hour.
    """
    shared_server.ask("FLUSHDB")
    with (
        coatcheck.by_url(shared_server.url) as worker,
        coatcheck.by_url(shared_server.url, safety_look=3600) as results,
    ):
        worker.mark_as_started("t")
        rows = Rows()
        feed = Feed(results, rows, interval=3600)
        feed.start()
        until(lambda: rows.complete and results.polling is None)
        for current in (1, 2):
            worker.store_result("t", {"current": current, "total": 2}, "PROGRESS")
            until(lambda number=current: f"{number}/2" in rows.view("all")[0].summary)
        worker.store_result("t", 1)
        until(lambda: rows.counts["SUCCESS"] == 1)
        feed.stop()


def test_in_a_terminal(shared_server: RedisServer, tmp_path: Path) -> None:
    """
    The view says that the store pushes, and shows a failure as it comes.
    """
    shared_server.ask("FLUSHDB")
    cli = CommandLine(tmp_path)
    with coatcheck.by_url(shared_server.url) as worker:
        worker.mark_as_started("resize")
        with cli.terminal("watch", "--backend", shared_server.url, columns=80) as terminal:
            terminal.read_until("resize")
            terminal.read_until("push")
            terminal.type(b"2")
            worker.store_result("resize", ValueError("no such file"), "FAILURE")
            terminal.read_until("ValueError")
            terminal.type(b"q")
            assert 0 == terminal.finish()
