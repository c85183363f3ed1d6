"""
PostgreSQL and MariaDB servers that tests start and stop, and ways into databases round coatcheck.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import psycopg
import pymysql

import coatcheck

from .processes import free_port, serve, stopped

DEADLINE: Final = 120.0


def _program(name: str, package: str) -> str:
    """
    Return the newest of the programs called *name*; Debian keeps PostgreSQL's off the PATH.
    """
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    path = path or (str(found[-1]) if found else None)
    if path is None:
        raise RuntimeError(f"{name} is not installed: apt-get install {package}")
    return path


def _as_user(user: str) -> list[str]:
    """
    Return the prefix that runs a server which refuses to be run by root.
    """
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]


def at_length(operation, *arguments):
    """
    Repeat an operation that has next to no time until it succeeds; return its value.
    """
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return operation(*arguments)
        except coatcheck.BackendUnavailableError:
            if time.monotonic() > deadline:
                raise


class Server:
    """
    A server with a directory of its own.
    """

    user: ClassVar[str]
    #: The signal that ends it at once.
    ending: ClassVar[signal.Signals] = signal.SIGKILL
    port: int

    def __init__(self) -> None:
        # Not pytest's: those are for their owner alone.
        self.directory = Path(tempfile.mkdtemp(prefix="coatcheck-"))
        if os.geteuid() == 0:
            shutil.chown(self.directory, self.user, self.user)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def _start(self, command: list[str]) -> None:
        log = (self.directory / "log").open("ab")
        self.process = serve(
            [*_as_user(self.user), *command], stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                self.execute("SELECT 1", database=None)
                return
            except Exception:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((self.directory / "log").read_text()[-2000:]) from None
            time.sleep(0.05)

    def execute(self, statement: str, values: Any = None, *, database: str | None = "app") -> Any:
        raise NotImplementedError

    def has_tables(self) -> bool:
        """
        Whether there is a place for records.
        """
        query = "SELECT 1 FROM information_schema.tables WHERE table_name = 'coatcheck_versions'"
        return bool(self.execute(query))

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """
        A server that says nothing.
        """
        assert self.process is not None
        with stopped(self.process.pid):
            yield

    def kill(self) -> None:
        """
        Stop the server at once; `start` goes on with its data.
        """
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(self.ending)
            process.wait(DEADLINE)

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class PostgreSQLServer(Server):
    user = "postgres"
    ending = signal.SIGQUIT  # its processes share memory, which they give back

    def __init__(self) -> None:
        super().__init__()
        where = ["-D", str(self.directory / "data")]
        options = ["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        made = subprocess.run(
            [*_as_user(self.user), _program("initdb", "postgresql"), *where, *options],
            capture_output=True, check=False, text=True, cwd="/",
            # Each start deletes the files of others in the same place.
            env={**os.environ, "TMPDIR": str(self.directory)},
        )  # fmt: skip
        if made.returncode:
            raise RuntimeError(made.stderr)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/app"

    def start(self, *options: str) -> PostgreSQLServer:
        settings = [
            "listen_addresses=127.0.0.1", f"port={self.port}", "fsync=off", "max_connections=300",
            f"unix_socket_directories={self.directory}", *options,
        ]  # fmt: skip
        arguments = [word for setting in settings for word in ("-c", setting)]
        program = _program("postgres", "postgresql")
        self._start([program, "-D", str(self.directory / "data"), *arguments])
        if not self.execute("SELECT 1 FROM pg_database WHERE datname = 'app'", database="postgres"):
            self.execute("CREATE DATABASE app", database="postgres")
        return self

    def connect(self, database: str | None = "app") -> psycopg.Connection[Any]:
        place = {"host": "127.0.0.1", "port": self.port, "user": "postgres"}
        return psycopg.connect(**place, dbname=database or "postgres", autocommit=True)

    def execute(self, statement: str, values: Any = None, *, database: str | None = "app") -> Any:
        with self.connect(database) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def empty(self) -> None:
        """
        Leave no table, and none of our connections.
        """
        self.execute(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public"
        )

    def connections(self) -> int:
        """
        Return how many others are connected.
        """
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' "
            "AND pid <> pg_backend_pid()"
        )
        return int(self.execute(query)[0][0])

    def __enter__(self) -> Self:
        return self.start()


class MariaDBServer(Server):
    user = "mysql"

    def __init__(self) -> None:
        super().__init__()
        install = _program("mariadb-install-db", "mariadb-server")
        made = subprocess.run(
            [*_as_user(self.user), install, "--no-defaults", f"--datadir={self.directory / 'data'}",
             "--auth-root-authentication-method=normal", "--skip-test-db"],
            capture_output=True, check=False, text=True, cwd="/",
            # Each start deletes the files of others in the same place.
            env={**os.environ, "TMPDIR": str(self.directory)},
        )  # fmt: skip
        if made.returncode:
            raise RuntimeError(made.stderr + made.stdout)

    @property
    def url(self) -> str:
        return f"mariadb://root@127.0.0.1:{self.port}/app"

    def start(self, *options: str) -> MariaDBServer:
        command = [
            _program("mariadbd", "mariadb-server"), "--no-defaults",
            f"--datadir={self.directory / 'data'}", f"--port={self.port}",
            f"--socket={self.directory / 'socket'}", "--bind-address=127.0.0.1",
            f"--tmpdir={self.directory}", "--innodb-flush-log-at-trx-commit=2",
            "--innodb-flush-method=nosync", "--innodb-doublewrite=0", "--max-connections=300",
            "--skip-name-resolve", *options,
        ]  # fmt: skip
        self._start(command)
        self.execute("CREATE DATABASE IF NOT EXISTS app", database=None)
        return self

    def connect(self, database: str | None = "app") -> Any:
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database, autocommit=True
        )

    def execute(self, statement: str, values: Any = None, *, database: str | None = "app") -> Any:
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def empty(self) -> None:
        """
        Leave no table.
        """
        self.execute("DROP DATABASE app", database=None)
        self.execute("CREATE DATABASE app", database=None)

    def connections(self) -> int:
        """
        Return how many others are connected.
        """
        query = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = 'app' AND id <> CONNECTION_ID()"
        return int(self.execute(query)[0][0])

    def __enter__(self) -> Self:
        return self.start()


# -- the oracle -------------------------------------------------------------------------------

_BLOBS: Final = frozenset({"result", "failure", "children", "args", "kwargs", "heartbeat"})
_COLUMNS: Final = (
    "status", "result", "traceback", "children", "date_done", "name", "failure", "v", "write_id",
    "date_started", "heartbeat",
)  # fmt: skip


def row_of(fields: Any) -> dict[str, Any]:
    """
    Return the columns of a planted record: as Celery wrote it, or we, if it has fields of ours.
    """
    row: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _BLOBS and value is not None:
            row[name] = value if isinstance(value, bytes) else str(value).encode()
        elif name in _COLUMNS and isinstance(value, (str, int)):
            row[name] = value
    result = row.get("result", b"")
    if "v" in row or result[:1] == b"\x80":
        row["serializer"] = "pickle" if result[:1] == b"\x80" else "json"
        row["seal_status"] = row.get("status")
    return row


class SQLiteFile:
    """
    A database in a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def url(self) -> str:
        return f"db+sqlite:///{self.path}"

    def has_tables(self) -> bool:
        """
        Whether there is a place for records.
        """
        return bool(self.execute("SELECT 1 FROM sqlite_master WHERE name = 'coatcheck_versions'"))

    def execute(self, statement: str, values: Any = ()) -> Any:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(statement, values).fetchall()


# -- a pooler ---------------------------------------------------------------------------------


class PgBouncer(Server):
    """
    A pooler before a PostgreSQL, which gives a connection to each transaction.
    """

    user = "postgres"

    def __init__(self, behind: PostgreSQLServer) -> None:
        super().__init__()
        self._behind = behind

    @property
    def url(self) -> str:
        return self._behind.url.replace(str(self._behind.port), str(self.port))

    def execute(self, statement: str, values: Any = None, *, database: str | None = "app") -> Any:
        with psycopg.connect(self.url, autocommit=True, prepare_threshold=None) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def __enter__(self) -> Self:
        lines = [
            "[databases]", f"app = host=127.0.0.1 port={self._behind.port} user=postgres",
            "[pgbouncer]", "listen_addr = 127.0.0.1", f"listen_port = {self.port}",
            "unix_socket_dir =", "auth_type = any", "pool_mode = transaction",
            "default_pool_size = 2",
        ]  # fmt: skip
        (self.directory / "pgbouncer.ini").write_text("\n".join(lines))
        program = _program("pgbouncer", "pgbouncer")
        # Again and again: version 1.18 may end itself when clients cancel ("bad client state").
        again = 'while :; do "$@"; sleep 0.1; done'
        self._start(["sh", "-c", again, "sh", program, str(self.directory / "pgbouncer.ini")])
        return self

    def kill(self) -> None:
        """
        Stop it, and the process that restarts it.
        """
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE)
            self.process = None
