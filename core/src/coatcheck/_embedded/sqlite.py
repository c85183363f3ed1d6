"""
`sqlite:///path`: records in a file, for many processes of one machine; the embedded default.

`sqlite:///relative.db` is relative to the working directory, `sqlite:////absolute.db` is not.
The file has to be on a local file system: SQLite's write-ahead log needs shared memory.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from .._backends.backend import ANY, Capability, KeyValueBackend, Unless
from .._backends.pool import BusyError, Turns
from .._backends.portions import batches
from .._runtime import forks
from .._runtime.clocks import monotonic, reached, wall
from .._runtime.interruptions import pass_on_interruption
from .._settings.options import read_options
from .._settings.url import URL
from ..errors import (
    BackendError,
    BackendStoreError,
    BackendUnavailableError,
    ConfigurationError,
)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS coatcheck_records (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    state TEXT,
    expires_at REAL
) WITHOUT ROWID;
"""
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
    "SELECT key FROM coatcheck_records WHERE (expires_at IS NULL OR expires_at > ?) "
    "AND key {} ? AND typeof(key) = 'text' ORDER BY key LIMIT 1000 OFFSET ?"
)
_IS_TABLE: Final = (
    "SELECT 1 FROM sqlite_master WHERE lower(name) = 'coatcheck_records' "
    "AND type = 'table' AND rootpage > 0"
)
# Where expired records are is not kept in an index: that would be a fifth of each store.
_LATER_KEY: Final = (
    "SELECT key FROM coatcheck_records WHERE key > ? AND typeof(key) = 'text' "
    "ORDER BY key LIMIT 1 OFFSET ?"
)
_REMOVE: Final = "DELETE FROM coatcheck_records WHERE expires_at <= ? AND key > ?"


#: After this many steps of SQLite's virtual machine an operation looks at the clock.
_STEPS: Final = 100_000
#: SQLite takes no longer timeout, in seconds.
_LONGEST: Final = 1e6
#: A file that is not there: no connection to it is kept.
_NO_FILE: Final = (-1, -1)
#: The errors where a file, or the directory for its log, must not be written.
_NO_WRITING: Final = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")


T = TypeVar("T")


def _decoded(text: bytes) -> str | None:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=64)
def _protecting(states: int) -> str:
    """
    Return what puts a record over all but those in one of so many *states*.
    """
    return f"{_PUT} OR state IS NULL OR state NOT IN ({', '.join('?' * states)})"


@lru_cache(maxsize=64)
def _reading(keys: int) -> str:
    """
    Return what reads the records of so many keys.
    """
    return f"{_GET} AND key IN ({', '.join('?' * keys)})"


class Connection(sqlite3.Connection):
    """
    A connection, and which file it is to.
    """

    opened: tuple[int, int] | None = None
    #: The state of a file that was opened as one that never changes, see `_connect_frozen`.
    frozen: tuple[int, ...] | None = None
    _patience = -1.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline = [math.inf]
        # A view or a trigger of somebody else may never end.
        self.set_progress_handler(reached(self._deadline), _STEPS)

    def be_patient(self, deadline: float) -> None:
        """
        Wait for other writers until *deadline*, give or take a hundredth, and work no longer.
        """
        self._deadline[0] = deadline
        seconds = min(max(deadline - monotonic(), 0.0), _LONGEST)
        if abs(seconds - self._patience) > 0.01 * self._patience:
            self.execute(f"PRAGMA busy_timeout = {math.ceil(seconds * 1000)}")
            self._patience = seconds

    def raw(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """
        Return all rows, text as bytes: other programs may store text that is no UTF-8.
        """
        self.text_factory = bytes
        try:
            return self.execute(sql, parameters).fetchall()
        finally:
            self.text_factory = str


class SQLiteBackend(KeyValueBackend):
    """
    One table; each write is one statement, so the file's own locking elects the first record.
    """

    PROTOCOL_VERSION = 1
    capabilities = Capability.TTL | Capability.SCAN | Capability.SHARED
    # SQLITE_MAX_LENGTH of every common build.
    max_value_bytes = 1_000_000_000
    #: Every so many writes look for expired records, to remove them.
    SWEEP_EVERY = 100
    #: How many records are looked at for each write: what has expired is gone before half as many
    #: records as there are have been written.
    SWEEP_ROWS = 2
    #: How many connections a process holds for reading; more threads than that take turns.
    CONNECTIONS = 4
    #: How many it holds for writing. They may all wait for another program's lock while reads go on.
    WRITERS = 2

    def __init__(self, path: str | Path, *, operation_timeout: float = 5.0) -> None:
        # Connections made after a change of the working directory are to the same file.
        self._path = Path(path).absolute()
        self._name = os.fspath(self._path)
        self._timeout = operation_timeout
        self._writes = 0
        #: Up to which key expired records were looked for; `None`: nowhere yet.
        self._swept: str | None = None
        self._idle: list[Connection] = []
        #: Which file the connections are to.
        self._opened: tuple[int, int] | None = None
        self._reading = Turns(self.CONNECTIONS)
        self._writing = Turns(self.WRITERS)
        #: Whether a connection was in use while this process was forked.
        self._torn = False
        forks.register_quiescent(self)

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

    # A child that inherits a connection inherits what SQLite believes of its locks, and not the
    # locks (sqlite.org/howtocorrupt.html, 2.6). So nothing is open while the process forks. Where a
    # fork was not announced, SQLite forgets those locks when the child has closed all its copies,
    # which is safe while no thread was using them.

    def before_fork(self) -> None:
        deadline = monotonic() + self._timeout
        for turns in (self._reading, self._writing):
            turns.rest(deadline - monotonic())
        self.close()

    def after_fork_in_parent(self) -> None:
        self._reading.resume()
        self._writing.resume()

    def after_fork(self) -> None:
        self._torn = self._torn or self._reading.are_taken or self._writing.are_taken
        self._reading.after_fork()
        self._writing.after_fork()
        if not self._torn:
            self.close()

    # -- connections ----------------------------------------------------------------------

    def _read(self, act: Callable[[Connection], T]) -> T:
        return self._run(self._reading, act)

    def _write(self, act: Callable[[Connection], T]) -> T:
        return self._run(self._writing, act)

    def _run(self, turns: Turns, act: Callable[[Connection], T]) -> T:
        """
        Return what *act* does with a connection. SQLite's errors become ours.
        """
        # As `Turns.during` and `Pool.lend`, in one function: each call is a part of a fetch.
        forks.check()
        if self._torn:
            raise forks.torn(self._path)
        deadline = monotonic() + self._timeout
        free = turns.free
        held: list[None] = []
        connection: Connection | None = None
        try:
            turns.take(held, self._timeout)
            idle = self._fresh_idle()
            try:
                connection = idle.pop()
            except IndexError:
                connection = self._connect()
            # What is left of the operation's time after the wait for a turn.
            connection.be_patient(deadline)
            result = act(connection)
            # Another thread may have closed all meanwhile, or noticed that the file was replaced.
            if idle is self._idle and connection.opened == self._opened:
                lent, connection = connection, None
                idle.append(lent)
            else:
                connection.close()
                self._check_frozen(connection)
        except BusyError:
            raise BackendUnavailableError(
                f"{self._path}: no connection free in {self._timeout} s"
            ) from None
        except BaseException as error:
            # A call into C, which no signal handler keeps from ending a transaction.
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise self.mapped(error) from error
            raise
        finally:
            if held:
                free.put(None)
        return result

    def _check_frozen(self, connection: Connection) -> None:
        if connection.frozen not in (None, self._state()):
            raise BackendUnavailableError(
                f"{self._path}: it changed while it was read without a lock: read it again"
            )

    def _fresh_idle(self) -> list[Connection]:
        """
        Return the connections that are free, none of which is to a file that was replaced.
        """
        # A file that was deleted or replaced lives on for those who have it open: what they
        # store there nobody else would ever see.
        if self._idle and self._identity() != self._opened:
            self.close()
        return self._idle

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._name)
        except OSError as error:
            pass_on_interruption(error)
            return None
        return found.st_dev, found.st_ino

    def _connect(self) -> Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            pass_on_interruption(error)
            raise BackendUnavailableError(f"{self._path.parent}: {error.strerror}") from error
        connection = self._open(self._name)
        try:
            self._prepare(connection)
        except sqlite3.OperationalError as error:
            connection.close()
            if not error.sqlite_errorname.startswith(_NO_WRITING) or not self._path.exists():
                raise
            return self._connect_frozen(error)
        except BaseException:
            connection.close()
            raise
        self._opened = connection.opened = self._identity()
        return connection

    def _open(self, name: str, *, uri: bool = False) -> Connection:
        return sqlite3.connect(
            name,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
            factory=Connection,
            uri=uri,
        )

    def _connect_frozen(self, error: sqlite3.Error) -> Connection:
        """
        Connect, for one read, to a file that may not be written, nor may a log next to it.

        While nobody has the file open there is no log, and the file does not change. If it does
        change, `_check_frozen` raises.
        """
        state = self._state()
        if state is None:
            raise BackendUnavailableError(
                f"{self._path}: {error}: the file has a log, and SQLite reads that only where it may "
                f"write to the directory {self._path.parent}: permit that, or open and close the "
                "file once as a user who may, which merges the log"
            ) from error
        connection = self._open(f"{self._path.as_uri()}?mode=ro&immutable=1", uri=True)
        connection.frozen = state
        connection.opened = _NO_FILE
        return connection

    def _state(self) -> tuple[int, ...] | None:
        """
        Return what changes with the file; `None` if it has a log, so that it is not all there is.
        """
        for log in ("-wal", "-journal"):
            with suppress(FileNotFoundError):
                if os.stat(self._name + log).st_size:
                    return None
        try:
            found = os.stat(self._name)
        except OSError as error:
            pass_on_interruption(error)
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _prepare(self, connection: Connection) -> None:
        deadline = monotonic() + self._timeout
        connection.be_patient(deadline)
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(_SCHEMA)
            except sqlite3.OperationalError as error:
                # Switching to WAL does not wait for its lock as other statements do.
                if "locked" not in str(error) or monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                break
        if connection.execute(_IS_TABLE).fetchone() is None:
            raise BackendUnavailableError(
                f"{self._path}: coatcheck_records is a view or a virtual table, not the table that "
                "coatcheck makes: drop it, or use another file"
            )

    def mapped(self, error: sqlite3.Error) -> BackendError:
        """
        Return ours for SQLite's *error*.
        """
        code = getattr(error, "sqlite_errorname", "")
        if code == "SQLITE_INTERRUPT":
            return BackendUnavailableError(f"{self._path}: not done in {self._timeout} s")
        kind = (
            BackendStoreError
            if code.startswith(("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_TOOBIG"))
            else BackendUnavailableError
        )
        return kind(f"{self._path}: {error}")

    # -- the protocol ---------------------------------------------------------------------

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
            # Whatever breaks this off closes the connection, and so ends the transaction.
            connection.execute("BEGIN IMMEDIATE")
            won = [self._put(connection, k, v, unless, None, expires) for k, v in items]
            connection.execute("COMMIT")
            if items:
                self._sweep(connection, items[-1][0], len(items))
            return won

        return self._write(act)

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
        Remove what has expired among so many records that come *after* a key. Return how many were
        removed, and after which key to go on: no key at all, at the end.
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
        after, last, passed = ">=", prefix, 0
        while True:
            rows = self._read(partial(_page, after, last, passed))
            if not rows:
                return
            for (text,) in rows:
                passed += 1
                if not text.startswith(prefix.encode()):
                    return
                key = _decoded(text)
                if key is not None:  # else nothing can be asked for behind it
                    after, last, passed = ">", key, 0
                    yield key

    def purge(self) -> int:
        purged, after = 0, ""
        while True:
            # In portions, so that writers of other processes get their turn.
            remove = partial(self._remove_expired, after=after, rows=1000)
            removed, after = self._write(remove)
            purged += removed
            if not after:
                return purged

    def close(self) -> None:
        forks.check()
        # Others may take from the list meanwhile.
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _records(keys: Collection[str], connection: Connection) -> dict[str, bytes]:
    return dict(connection.execute(_reading(len(keys)), (wall(), *keys)))


def _delete(keys: Collection[str], connection: Connection) -> int:
    """
    Delete records, and return how many lived.
    """
    marks = ", ".join("?" * len(keys))
    delete = f"DELETE FROM coatcheck_records WHERE key IN ({marks})"
    living = f"{delete} AND (expires_at IS NULL OR expires_at > ?)"
    deleted = connection.execute(living, (*keys, wall())).rowcount
    connection.execute(delete, tuple(keys))
    return deleted


def _page(after: str, last: str, passed: int, connection: Connection) -> list[Any]:
    return connection.raw(_SCAN.format(after), (wall(), last, passed))
