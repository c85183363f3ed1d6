"""
Connections to an SQLite file, shared by threads, through forks and replacements of the file.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from .._backends.pool import BusyError, Turns
from .._runtime import forks
from .._runtime.clocks import monotonic, reached
from .._runtime.interruptions import pass_on_interruption
from ..errors import BackendError, BackendStoreError, BackendUnavailableError
from .sqlite_logs import LOGS

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS coatcheck_records (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    state TEXT,
    expires_at REAL
) WITHOUT ROWID;
"""
_IS_TABLE: Final = (
    "SELECT 1 FROM sqlite_master WHERE lower(name) = 'coatcheck_records' "
    "AND type = 'table' AND rootpage > 0"
)
#: After this many steps of SQLite's virtual machine an operation looks at the clock.
_STEPS: Final = 100_000
#: SQLite takes no longer timeout, in seconds.
_LONGEST: Final = 1e6
#: A file that is not there: no connection to it is kept.
_NO_FILE: Final = (-1, -1)
#: The errors where a file, or the directory for its log, must not be written.
_NO_WRITING: Final = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")


T = TypeVar("T")


class Connection(sqlite3.Connection):
    """A connection, and which file it is to."""

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
        """Wait for other writers until *deadline*, give or take a hundredth, and work no longer."""
        self._deadline[0] = deadline
        seconds = min(max(deadline - monotonic(), 0.0), _LONGEST)
        if abs(seconds - self._patience) > 0.01 * self._patience:
            self.execute(f"PRAGMA busy_timeout = {math.ceil(seconds * 1000)}")
            self._patience = seconds

    def raw(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """Return all rows, text as bytes: other programs may store text that is no UTF-8."""
        self.text_factory = bytes
        try:
            return self.execute(sql, parameters).fetchall()
        finally:
            self.text_factory = str


class Connections:
    """
    The connections to one file. More threads than connections take turns.

    Args:
        timeout: seconds for each operation.
        readers: how many connections may read at the same time.
        writers: how many may write. They may all wait for another program's lock while reads go on.
    """

    def __init__(self, path: str | Path, *, timeout: float, readers: int, writers: int) -> None:
        # Connections made after a change of the working directory are to the same file.
        self.path = Path(path).absolute()
        self._name = os.fspath(self.path)
        self._timeout = timeout
        self.idle: list[Connection] = []
        #: The file that the connections are to.
        self._opened: tuple[int, int] | None = None
        self.reading = Turns(readers)
        self.writing = Turns(writers)
        #: Whether a connection was in use while this process was forked.
        self._torn = False
        forks.register_quiescent(self)

    # A child that inherits a connection inherits SQLite's notes about its locks, but not the
    # locks (sqlite.org/howtocorrupt.html, 2.6). So nothing is open while the process forks. Where a
    # fork was not announced, SQLite forgets those locks when the child has closed all its copies,
    # which is safe while no thread was using them.

    def before_fork(self) -> None:
        deadline = monotonic() + self._timeout
        for turns in (self.reading, self.writing):
            turns.rest(deadline - monotonic())
        self.close()

    def after_fork_in_parent(self) -> None:
        self.reading.resume()
        self.writing.resume()

    def after_fork(self) -> None:
        self._torn = self._torn or self.reading.are_taken or self.writing.are_taken
        self.reading.after_fork()
        self.writing.after_fork()
        if not self._torn:
            self.close()

    def run(self, turns: Turns, act: Callable[[Connection], T]) -> T:
        """
        Call *act* with a connection during one of *turns* and return its value. SQLite's errors become ours.
        """
        # `Turns.during` and `Pool.lend` in one function: each call would slow down a fetch.
        forks.check()
        if self._torn:
            raise forks.torn(self.path)
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
            connection.be_patient(deadline)
            result = act(connection)
            # Another thread may have closed all meanwhile, or noticed that the file was replaced.
            if idle is self.idle and connection.opened == self._opened:
                lent, connection = connection, None
                idle.append(lent)
            else:
                connection.close()
                self._check_frozen(connection)
        except BusyError:
            raise BackendUnavailableError(
                f"{self.path}: no connection free in {self._timeout} s"
            ) from None
        except BaseException as error:
            # One call into C ends a transaction: no signal handler can prevent it.
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._mapped(error) from error
            raise
        finally:
            if held:
                free.put(None)
        return result

    def _check_frozen(self, connection: Connection) -> None:
        if connection.frozen not in (None, self._state()):
            raise BackendUnavailableError(
                f"{self.path}: it changed while it was read without a lock: read it again"
            )

    def _fresh_idle(self) -> list[Connection]:
        """Return the connections that are free, none of which is to a file that was replaced."""
        # A deleted or replaced file lives on for those who have it open. Nobody else would ever see
        # the records that they store there.
        if self.idle and self._identity() != self._opened:
            self.close()
        return self.idle

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._name)
        except OSError as error:
            pass_on_interruption(error)
            return None
        return found.st_dev, found.st_ino

    def _connect(self) -> Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            pass_on_interruption(error)
            raise BackendUnavailableError(f"{self.path.parent}: {error.strerror}") from error
        connection = self._open(self._name)
        try:
            self._prepare(connection)
        except sqlite3.OperationalError as error:
            connection.close()
            if not error.sqlite_errorname.startswith(_NO_WRITING) or not self.path.exists():
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
                f"{self.path}: {error}: the file has a log, and SQLite reads that only where it may "
                f"write to the directory {self.path.parent}: permit that, or open and close the "
                "file once as a user who may, which merges the log"
            ) from error
        connection = self._open(f"{self.path.as_uri()}?mode=ro&immutable=1", uri=True)
        connection.frozen = state
        connection.opened = _NO_FILE
        return connection

    def _state(self) -> tuple[int, ...] | None:
        """
        Return values that change with the file; `None` if it has a log, so that the file alone is not enough.
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
                if connection.execute(_IS_TABLE).fetchone() is None:
                    raise BackendUnavailableError(
                        f"{self.path}: coatcheck_records is a view or a virtual table, not the table "
                        "that coatcheck makes: drop it, or use another file"
                    )
                connection.executescript(LOGS)
            except sqlite3.OperationalError as error:
                # Switching to WAL does not wait for its lock as other statements do.
                if "locked" not in str(error) or monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _mapped(self, error: sqlite3.Error) -> BackendError:
        """Return ours for SQLite's *error*."""
        code = getattr(error, "sqlite_errorname", "")
        if code == "SQLITE_INTERRUPT":
            return BackendUnavailableError(f"{self.path}: not done in {self._timeout} s")
        kind = (
            BackendStoreError
            if code.startswith(("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_TOOBIG"))
            else BackendUnavailableError
        )
        return kind(f"{self.path}: {error}")

    def close(self) -> None:
        forks.check()
        # Others may take from the list meanwhile.
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()
