"""
`sqlite:///path`: records in a file, for many processes of one machine; the embedded default.

`sqlite:///relative.db` is relative to the working directory, `sqlite:////absolute.db` is not.
The file has to be on a local file system: SQLite's write-ahead log needs shared memory.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from .._backends.backend import ANY, Capability, KeyValueBackend, Unless
from .._backends.logs import Log
from .._backends.portions import batches
from .._backends.query import Query
from .._runtime.clocks import wall
from .._settings.options import read_options
from .._settings.url import URL
from ..errors import ConfigurationError
from ..states import PENDING
from . import sqlite_logs
from .sqlite_connections import Connection, Connections

if TYPE_CHECKING:
    from .._backends.checkup import Checkup

_PUT: Final = """
INSERT INTO coatcheck_records (key, value, state, expires_at) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE
SET value = excluded.value, state = excluded.state, expires_at = excluded.expires_at
WHERE coatcheck_records.expires_at <= ?
"""
_REPLACE: Final = """
UPDATE coatcheck_records SET value = ?, state = ?, expires_at = ?
WHERE key = ? AND CAST(value AS BLOB) = ? AND (expires_at IS NULL OR expires_at > ?)
"""
# Another program may have stored text or a number, which SQLite allows in any column.
_GET: Final = (
    "SELECT key, ifnull(CAST(value AS BLOB), x'') FROM coatcheck_records "
    "WHERE (expires_at IS NULL OR expires_at > ?)"
)
_SCAN: Final = (
    "SELECT key, state FROM coatcheck_records WHERE (expires_at IS NULL OR expires_at > ?) "
    "AND key {} ? AND typeof(key) = 'text' ORDER BY key LIMIT 1000 OFFSET ?"
)
# There is no index of expiry: it would take a fifth of the time of each store.
_LATER_KEY: Final = (
    "SELECT key FROM coatcheck_records WHERE key > ? AND typeof(key) = 'text' "
    "ORDER BY key LIMIT 1 OFFSET ?"
)
_REMOVE: Final = "DELETE FROM coatcheck_records WHERE expires_at <= ? AND key > ?"


def _decoded(text: bytes) -> str | None:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=64)
def _protecting(states: int) -> str:
    """Return the statement that replaces all records but those in one of *states* states."""
    return f"{_PUT} OR state IS NULL OR state NOT IN ({', '.join('?' * states)})"


@lru_cache(maxsize=64)
def _reading(keys: int) -> str:
    """Return the statement that reads the records of *keys* keys."""
    return f"{_GET} AND key IN ({', '.join('?' * keys)})"


class SQLiteBackend(KeyValueBackend):
    """One table; each write is one statement, so the file's own locking elects the first record."""

    PROTOCOL_VERSION = 1
    capabilities = Capability.TTL | Capability.SCAN | Capability.SHARED | Capability.EVENTS
    ordered = True
    # SQLITE_MAX_LENGTH of every common build.
    max_value_bytes = 1_000_000_000
    #: One of this many writes looks for expired records and removes them.
    SWEEP_EVERY = 100
    #: How many records are looked at for each write. So expired records are gone before half as many
    #: writes as there are records.
    SWEEP_ROWS = 2
    #: How many connections a process holds for reading; more threads than that take turns.
    CONNECTIONS = 4
    #: How many it holds for writing. They may all wait for another program's lock while reads go on.
    WRITERS = 2

    def __init__(self, path: str | Path, *, operation_timeout: float = 5.0) -> None:
        self._file = Connections(
            path, timeout=operation_timeout, readers=self.CONNECTIONS, writers=self.WRITERS
        )
        self._read = partial(self._file.run, self._file.reading)
        self._write = partial(self._file.run, self._file.writing)
        self._writes = 0
        #: The key up to which expired records were looked for; `None` before the first time.
        self._swept: str | None = None

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        read_options({**url.query, **(options or {})}, {}, where=f"{url.scheme}://")
        path = url.path.removeprefix("/")
        if url.netloc or not path or path == ":memory:":
            raise ConfigurationError(
                f"{url} names no file: write sqlite:///relative.db or sqlite:////absolute.db "
                "(for records in memory: memory://)"
            )
        return cls(Path(path).expanduser(), operation_timeout=operation_timeout)

    def put(
        self,
        key: str,
        value: bytes,
        *,
        unless: Unless,
        if_match: bytes | None = None,
        expires: float | None,
    ) -> bool:
        def act(connection: Connection) -> bool:
            won = self._put(connection, key, value, unless, if_match, expires)
            self._sweep(connection, key, 1)
            return won

        return self._write(act)

    def put_many(
        self, items: Sequence[tuple[str, bytes]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        def act(connection: Connection) -> list[bool]:
            # Any exception closes the connection, which ends the transaction.
            connection.execute("BEGIN IMMEDIATE")
            won = [self._put(connection, k, v, unless, None, expires) for k, v in items]
            connection.execute("COMMIT")
            if items:
                self._sweep(connection, items[-1][0], len(items))
            return won

        return self._write(act)

    def append(
        self,
        key: str,
        value: bytes,
        events: Sequence[bytes],
        *,
        unless: Unless,
        if_match: bytes | None = None,
        expires: float | None,
    ) -> int | None:
        def act(connection: Connection) -> int | None:
            connection.execute("BEGIN IMMEDIATE")
            won = self._put(connection, key, value, unless, if_match, expires)
            number = sqlite_logs.append(connection, key, events) if won else None
            connection.execute("COMMIT")
            self._sweep(connection, key, 1)
            return number

        return self._write(act)

    def get_log(self, key: str, after: int = 0) -> Log:
        return self._read(lambda connection: sqlite_logs.read(connection, key, after, wall()))

    def _put(
        self,
        connection: sqlite3.Connection,
        key: str,
        value: bytes,
        unless: Unless,
        if_match: bytes | None,
        expires: float | None,
    ) -> bool:
        now = wall()
        until = None if expires is None else now + expires
        state = self.codec.state_of(value)
        if if_match is not None:
            changed = connection.execute(_REPLACE, (value, state, until, key, if_match, now))
        elif unless is ANY:
            changed = connection.execute(_PUT, (key, value, state, until, now))
        else:
            protecting = _protecting(len(unless))
            changed = connection.execute(protecting, (key, value, state, until, now, *unless))
        if changed.rowcount:
            return True
        return self._is_stored(connection, key, value)

    def _is_stored(self, connection: sqlite3.Connection, key: str, value: bytes) -> bool:
        found = connection.execute(f"{_GET} AND key = ?", (wall(), key)).fetchone()
        return found is not None and found[1] == value

    def _sweep(self, connection: Connection, key: str, writes: int) -> None:
        self._writes += writes
        if self._writes < self.SWEEP_EVERY:
            return
        rows, self._writes = self._writes * self.SWEEP_ROWS, 0
        # Processes that end soon begin where they write, and not all of them at the same place.
        after = key if self._swept is None else self._swept
        _, self._swept = self._remove_expired(connection, after, rows)

    def _remove_expired(self, connection: Connection, after: str, rows: int) -> tuple[int, str]:
        """
        Remove the expired ones of the next *rows* records after the key *after*. Return how many were
        removed, and the key after which to go on; "" at the end.
        """
        found = connection.raw(_LATER_KEY, (after, rows - 1))
        last = _decoded(found[0][0]) if found else None
        if last is None:
            return connection.execute(_REMOVE, (wall(), after)).rowcount, ""
        portion = (wall(), after, last)
        return connection.execute(f"{_REMOVE} AND key <= ?", portion).rowcount, last

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for batch in batches(keys):
            found.update(self._read(partial(_records, batch)))
        return found

    def delete_many(self, keys: Collection[str]) -> int:
        return sum(self._write(partial(_delete, batch)) for batch in batches(keys))

    def scan(self, prefix: str = "") -> Iterator[str]:
        return self.find(Query(prefix))

    def find(self, query: Query) -> Iterator[str]:
        prefix, wanted = query.prefix.encode(), query.state
        # A record whose state cannot be read shows as PENDING.
        states = None if wanted is None or wanted == PENDING else (None, wanted.encode())
        after, last, passed = ">=", query.prefix, 0
        if query.after is not None and query.after >= query.prefix:
            after, last = ">", query.after
        while True:
            rows = self._read(partial(_page, after, last, passed))
            if not rows:
                return
            for text, state in rows:
                passed += 1
                if not text.startswith(prefix):
                    return
                key = _decoded(text)
                if key is None:
                    continue  # nothing can be asked for behind it
                after, last, passed = ">", key, 0
                if states is None or state in states:
                    yield key

    def lives(self, keys: Collection[str], *, groups: bool = False) -> dict[str, float | None]:
        del groups
        found: dict[str, float | None] = {}
        for batch in batches(keys):
            found |= self._read(partial(_lives, batch))
        return found

    def purge(self) -> int:
        purged, after = 0, ""
        while True:
            # In portions, so that writers of other processes get their turn.
            remove = partial(self._remove_expired, after=after, rows=1000)
            removed, after = self._write(remove)
            purged += removed
            if not after:
                return purged

    def checkup(self) -> Checkup:
        from .sqlite_checkup import SQLiteCheckup  # noqa: PLC0415 - only for the doctor

        return SQLiteCheckup(self._file)

    def close(self) -> None:
        self._file.close()


def _records(keys: Collection[str], connection: Connection) -> dict[str, bytes]:
    return dict(connection.execute(_reading(len(keys)), (wall(), *keys)))


def _lives(keys: Collection[str], connection: Connection) -> dict[str, float | None]:
    marks, now = ", ".join("?" * len(keys)), wall()
    query = f"SELECT key, expires_at FROM coatcheck_records WHERE key IN ({marks})"
    rows = connection.execute(query, tuple(keys))
    return {key: math.inf if until is None else until - now for key, until in rows}


def _delete(keys: Collection[str], connection: Connection) -> int:
    """Delete records, and return how many of them were alive."""
    marks = ", ".join("?" * len(keys))
    delete = f"DELETE FROM coatcheck_records WHERE key IN ({marks})"
    living = f"{delete} AND (expires_at IS NULL OR expires_at > ?)"
    deleted = connection.execute(living, (*keys, wall())).rowcount
    connection.execute(delete, tuple(keys))
    return deleted


def _page(after: str, last: str, passed: int, connection: Connection) -> list[Any]:
    return connection.raw(_SCAN.format(after), (wall(), last, passed))
