"""
The logs of tasks in an SQLite file: a row for each event.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from .._backends.logs import LOG_BYTES, LOG_EVENTS, Log

#: `size` is that of all events of the log up to this one. Triggers end a log with its record: whatever
#: deletes the record, and a write over an expired one (SQLite's clock counts milliseconds).
LOGS: Final = """
CREATE TABLE IF NOT EXISTS coatcheck_events (
    key TEXT NOT NULL,
    number INTEGER NOT NULL,
    size INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (key, number)
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS coatcheck_forget AFTER DELETE ON coatcheck_records
BEGIN DELETE FROM coatcheck_events WHERE key = OLD.key; END;
CREATE TRIGGER IF NOT EXISTS coatcheck_renew AFTER UPDATE ON coatcheck_records
WHEN OLD.expires_at <= (julianday('now') - 2440587.5) * 86400.0 + 0.002
BEGIN DELETE FROM coatcheck_events WHERE key = OLD.key; END;
"""
_NEWEST: Final = (
    "SELECT number, size FROM coatcheck_events WHERE key = ? ORDER BY number DESC LIMIT 1"
)
_OLDEST: Final = (
    "SELECT number, size - length(data) FROM coatcheck_events WHERE key = ? ORDER BY number LIMIT 1"
)
_APPEND: Final = "INSERT INTO coatcheck_events (key, number, size, data) VALUES (?, ?, ?, ?)"
_DROP: Final = "DELETE FROM coatcheck_events WHERE key = ? AND number = ?"
_LAST: Final = (
    "SELECT max(number) FROM coatcheck_events WHERE key = ? AND EXISTS (SELECT 1 FROM "
    "coatcheck_records r WHERE r.key = ? AND (r.expires_at IS NULL OR r.expires_at > ?))"
)
_READ: Final = (
    "SELECT CAST(data AS BLOB) FROM coatcheck_events WHERE key = ? AND number > ? AND number <= ? "
    "ORDER BY number"
)
#: SQLite's largest integer.
_MOST: Final = 2**63 - 1


def append(connection: sqlite3.Connection, key: str, events: Sequence[bytes]) -> int:
    """Append *events* to the log of *key*, in the transaction that stores its record."""
    number, size = connection.execute(_NEWEST, (key,)).fetchone() or (0, 0)
    for event in events:
        number, size = number + 1, size + len(event)
        connection.execute(_APPEND, (key, number, size, event))
    while oldest := connection.execute(_OLDEST, (key,)).fetchone():
        if oldest[0] > number - LOG_EVENTS and size - oldest[1] <= LOG_BYTES:
            break
        connection.execute(_DROP, (key, oldest[0]))
    return int(number)


def read(connection: sqlite3.Connection, key: str, after: int, now: float) -> Log:
    """Return the events of *key* after the number *after*."""
    try:
        (last,) = connection.execute(_LAST, (key, key, now)).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # no coatcheck that knows logs wrote to this file yet
            return Log()
        raise
    if last is None:
        return Log()
    rows = connection.execute(_READ, (key, min(after, _MOST), last)).fetchall()
    return Log([event for (event,) in rows], last)
