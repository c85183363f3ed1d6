"""
Who is measured on SQLite: coatcheck, and sqlite3 by hand with the same durability. See `contenders`.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contenders import EXPIRES, Coatcheck, document, touch

STORE = """
INSERT INTO by_hand (key, value, expires_at) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
"""
READ = "SELECT value FROM by_hand WHERE key = ? AND expires_at > ?"


def row(task_id: str) -> tuple[str, str, float]:
    """
    Return a record as one writes it by hand.
    """
    return task_id, json.dumps(document(task_id)), time.time() + EXPIRES


class Raw:
    """
    sqlite3 by hand, in a file beside coatcheck's.
    """

    def __init__(self, url: str) -> None:
        path = f"/{url.partition(':////')[2]}-by-hand"
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.execute(
            "CREATE TABLE by_hand (key TEXT PRIMARY KEY, value, expires_at REAL)"
        )

    def store(self, task_id: str) -> None:
        self.connection.execute(STORE, row(task_id))

    def fetch(self, task_id: str) -> None:
        for (value,) in self.connection.execute(READ, (task_id, time.time())):
            touch(value)

    def store_many(self, task_ids: Sequence[str]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(STORE, map(row, task_ids))
        self.connection.execute("COMMIT")

    def get_many(self, task_ids: Sequence[str]) -> None:
        marks = ", ".join("?" * len(task_ids))
        query = f"SELECT value FROM by_hand WHERE key IN ({marks}) AND expires_at > ?"
        for (value,) in self.connection.execute(query, [*task_ids, time.time()]):
            touch(value)

    def close(self) -> None:
        self.connection.close()


#: Whether each reads what it stored itself.
APART = True
#: What part of the speed by hand is aimed at.
TARGETS: Mapping[str, float] = {"store": 0.5, "fetch": 0.35}
SYNC: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "coatcheck": ("coatcheck", Coatcheck),
    "raw": ("sqlite3", Raw),
}
