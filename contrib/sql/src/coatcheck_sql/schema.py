"""
The tables: how they are made, what is added to Celery's, and what is left alone.

A migration takes place in one transaction under a lock, so that of many processes that start at
once one does it and the others find it done. It only adds: tables, columns that may be empty, and
indexes where that is soon over. The version is kept in a table of our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import sqlalchemy as sa

from . import catalog
from .catalog import Columns, Place
from .deadline import left
from .errors import Unfit, code_of, state_of
from .limits import beginning, limited
from .records import BASIC, EXACT, Letters, letters_of
from .settings import Settings
from .statements import MySQL, PostgreSQL, SQLite, Table

#: What this version of the plugin writes.
VERSION: Final = 1
VERSIONS: Final = "coatcheck_versions"
#: A table with more rows than this gets no index from us: it takes long, and nobody writes then.
_MANY: Final = 200_000
_LOCK: Final = 0x636F6174  # any number, the same for all

#: Kind of each column: Celery's first, in its order.
_TASKS: Final[Mapping[str, str]] = {
    "id": "id", "task_id": "key", "status": "status", "result": "blob", "date_done": "local",
    "traceback": "text", "children": "blob", "name": "name", "args": "blob", "kwargs": "blob",
    "worker": "name", "retries": "integer", "queue": "name", "stamps": "blob",
    "full_id": "blob", "parent_id": "text", "group_id": "text", "write_id": "word",
    "failure": "blob", "date_started": "date", "heartbeat": "blob", "attempt": "integer",
    "v": "integer", "serializer": "name", "more": "blob", "done_at": "date", "expires_at": "date",
    "seal_status": "status", "seal_date": "local",
}  # fmt: skip
_GROUPS: Final[Mapping[str, str]] = {
    "id": "id", "taskset_id": "key", "result": "blob", "date_done": "local",
    "full_id": "blob", "serializer": "name", "expires_at": "date", "seal_date": "local",
}  # fmt: skip
#: Without these it is no table of Celery's.
_NEEDED: Final = ("id", "task_id", "taskset_id", "status", "result", "date_done")

_TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    "postgresql": {
        "sequenced": "BIGINT PRIMARY KEY", "key": "VARCHAR(155)", "status": "VARCHAR(50)",
        "blob": "BYTEA", "text": "TEXT", "name": "VARCHAR(155)", "word": "VARCHAR(64)",
        "integer": "INTEGER", "date": "TIMESTAMP WITH TIME ZONE", "local": "TIMESTAMP",
    },
    "mysql": {
        "id": "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY", "sequenced": "BIGINT PRIMARY KEY",
        "key": "VARCHAR(155) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "status": "VARCHAR(50)", "blob": "LONGBLOB", "text": "LONGTEXT", "name": "VARCHAR(155)",
        "word": "VARCHAR(64)", "integer": "INTEGER", "date": "DATETIME(6)", "local": "DATETIME(6)",
    },
    "sqlite": {
        "id": "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT", "key": "VARCHAR(155)",
        "status": "VARCHAR(50)", "blob": "BLOB", "text": "TEXT", "name": "VARCHAR(155)",
        "word": "VARCHAR(64)", "integer": "INTEGER", "date": "DATETIME", "local": "DATETIME",
    },
}  # fmt: skip
#: What MySQL calls characters, and we do; of all others only ASCII is used.
_MYSQL_LETTERS: Final = {"utf8mb4": "utf-8", "utf8": BASIC, "utf8mb3": BASIC, "latin1": "cp1252"}
_FAMILIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("text", "name", "word", "status", "key"), "text"),
    **dict.fromkeys(("id", "integer"), "integer"), **dict.fromkeys(("date", "local"), "date"),
    "blob": "blob",
}  # fmt: skip


class Layout(NamedTuple):
    """
    The tables as they are.
    """

    #: `None` where there is none.
    tasks: Table | None
    groups: Table | None
    #: Whether they have all columns of ours.
    complete: bool
    #: Which ids the columns of ids keep apart.
    letters: Letters = EXACT
    #: The largest record, in bytes; `None` where none is known.
    limit: int | None = None
    #: What should be done by hand, if anything.
    advice: str | None = None


class _Found(NamedTuple):
    """
    One table as it is, and the columns that it is to have.
    """

    place: Place
    columns: Columns
    kinds: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.place[0]

    @property
    def key(self) -> str:
        return "task_id" if "task_id" in self.kinds else "taskset_id"

    @property
    def missing(self) -> list[str]:
        return [name for name in self.kinds if name not in self.columns]

    @property
    def sequence(self) -> Place:
        # By Celery's names, which do not depend on those of the tables.
        return f"{self.key.removesuffix('_id')}_id_sequence", self.place[1]

    @property
    def option(self) -> str:
        return "task_table=" if self.key == "task_id" else "group_table="


class Schema:
    """
    Looks the tables up, and makes of them what records need. Works on SQLAlchemy's synchronous
    connections, in autocommit.
    """

    def __init__(self, settings: Settings, *, channel: str | None) -> None:
        self._settings = settings
        self._channel = channel
        self._dialect = settings.dialect
        self._types = _TYPES[settings.dialect]
        self._tasks = (settings.tasks, settings.task_schema)
        self._groups = (settings.groups, settings.group_schema)
        self._versions = (VERSIONS, settings.task_schema)

    def look(self, connection: sa.Connection) -> Layout:
        """
        Return the tables as they are. Changes nothing. Raises `Unfit`, and the driver's errors.
        """
        with limited(connection):
            return self._layout(connection, *self._find(connection)[:2])

    def prepare(self, connection: sa.Connection) -> Layout:
        """
        Return the tables, made or completed if need be. Raises as `look` does.
        """
        with limited(connection):
            tasks, groups, versions = self._find(connection)
            layout = self._layout(connection, tasks, groups)
            version = self._version(connection) if versions else None
        if version is not None and version > VERSION:
            raise Unfit(
                f"the tables have version {version}, and this coatcheck-sql knows {VERSION}: "
                "upgrade it"
            )
        if layout.complete and version is not None:
            return layout
        if not self._settings.migrate:
            raise Unfit(
                "the tables lack columns, and the option migrate=0 forbids to add them; do it by "
                f"hand: {self._script(connection)}"
            )
        try:
            with _Lock(connection, self._dialect):
                advice = self._migrate(connection)
        except sa.exc.DBAPIError as error:
            if _is_forbidden(error):
                raise Unfit(
                    f"this user may not alter the tables ({error.orig}); have somebody do who may: "
                    f"{self._script(connection)}"
                ) from error
            raise
        return self.look(connection)._replace(advice=advice)

    # -- looking --------------------------------------------------------------------------

    def _find(self, connection: sa.Connection) -> tuple[_Found, _Found, bool]:
        places = [self._tasks, self._groups, self._versions]
        tasks, groups, versions = catalog.columns(connection, self._dialect, places)
        return (
            _Found(self._tasks, tasks, _TASKS),
            _Found(self._groups, groups, _GROUPS),
            bool(versions),
        )

    def _layout(self, connection: sa.Connection, tasks: _Found, groups: _Found) -> Layout:
        both = (tasks, groups)
        for found in both:
            self._check(found)
        letters, limit = self._limits(connection, tasks, groups)
        mariadb = _is_mariadb(connection)
        return Layout(
            self._table(tasks, mariadb=mariadb) if tasks.columns else None,
            self._table(groups, mariadb=mariadb) if groups.columns else None,
            all(found.columns and not found.missing for found in both),
            letters,
            limit,
        )

    def _check(self, found: _Found) -> None:
        """
        Raise `Unfit` if the table is not Celery's, or has columns of ours that are not.
        """
        if not found.columns:
            return
        lacking = [n for n in _NEEDED if n in found.kinds and n not in found.columns]
        if lacking:
            raise Unfit(
                f"the table {found.name} is not one of Celery's: it has no {', '.join(lacking)}; "
                f"name another one by the option {found.option}"
            )
        for name, kind in found.kinds.items():
            column = found.columns.get(name)
            if column is not None and column.family != _FAMILIES[kind]:
                raise Unfit(
                    f"the column {name} of {found.name} is of the type {column.family}, and has "
                    f"to be {self._types[kind]}: it is left as it is; rename it, or name another "
                    f"table by the option {found.option}"
                )
        key = found.columns[found.key]
        if not key.stored:
            raise Unfit(f"{found.name} is no table; name another one by {found.option}")
        if not key.unique:
            raise Unfit(
                f"the table {found.name} takes an id more than once, so no record can be the "
                f"first; remove what is doubled, and: ALTER TABLE {found.name} ADD UNIQUE "
                f"({found.key})"
            )

    def _limits(
        self, connection: sa.Connection, tasks: _Found, groups: _Found
    ) -> tuple[Letters, int | None]:
        """
        Return which letters the database knows and keeps apart, and how large a record may be.
        """
        if self._dialect == "postgresql":
            info = connection.connection.driver_connection.info  # type: ignore[union-attr]
            return letters_of(info.parameter_status("server_encoding")), None
        if self._dialect == "sqlite":
            return EXACT, None
        packet = connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one()
        # What is written is sent as text, with marks before some of its bytes.
        limit = (int(packet) - 65_536) // 2
        size = tasks.columns["result"].length if tasks.columns else None
        return _collated(tasks, groups), min(limit, size or limit)

    def _table(self, found: _Found, *, mariadb: bool) -> Table:
        name, key, zone = self._quoted(found.place), found.key, self._settings.timezone
        present = frozenset(found.columns) if found.missing else None
        if self._dialect == "sqlite":
            return SQLite(name, key, zone=zone, present=present)
        sequence = self._quoted(found.sequence)
        if self._dialect == "mysql":
            # As Celery does: SQLAlchemy knows that MariaDB has sequences.
            taken = None if found.columns["id"].numbered or not mariadb else sequence
            return MySQL(name, key, zone=zone, mariadb=mariadb, sequence=taken, present=present)
        channel = self._channel if key == "task_id" else None
        return PostgreSQL(name, key, sequence=sequence, channel=channel, present=present)

    def _quoted(self, place: Place) -> str:
        return catalog.quoted(self._dialect, place)

    def _version(self, connection: sa.Connection) -> int | None:
        query = f"SELECT version FROM {self._quoted(self._versions)} WHERE name = :name"
        found = connection.execute(sa.text(query), {"name": self._settings.tasks}).scalar()
        return None if found is None else int(found)

    # -- changing -------------------------------------------------------------------------

    def _migrate(self, connection: sa.Connection) -> str | None:
        """
        Bring the tables up to this version; return what is left to do by hand.
        """
        statements: list[str] = []
        advice: list[str] = []
        for found in self._find(connection)[:2]:
            many = bool(found.columns) and self._rows(connection, found) > _MANY
            statements += self._changes(connection, found)
            (advice if many else statements).extend(self._indexes(connection, found))
        statements += self._noting()
        if self._dialect == "postgresql":
            statements = ["; ".join(statements)]  # one round trip
        for statement in statements:
            connection.exec_driver_sql(statement)
        if not advice:
            return None
        return f"the tables are large, so no index was made; do it by hand: {'; '.join(advice)}"

    def _changes(self, connection: sa.Connection, found: _Found) -> Iterator[str]:
        table = self._quoted(found.place)
        sequenced = self._dialect == "postgresql" or _is_mariadb(connection)
        if sequenced:
            start = f" START WITH {self._last(connection, found) + 1}" if found.columns else ""
            yield f"CREATE SEQUENCE IF NOT EXISTS {self._quoted(found.sequence)}{start}"
        if not found.columns:
            types = {**self._types, "id": self._types["sequenced" if sequenced else "id"]}
            columns = ", ".join(f"{name} {types[kind]}" for name, kind in found.kinds.items())
            letters = " DEFAULT CHARACTER SET utf8mb4" if self._dialect == "mysql" else ""
            yield f"CREATE TABLE {table} ({columns}, UNIQUE ({found.key})){letters}"
            return
        for name in found.missing:
            kind = self._types[found.kinds[name]]
            if name == "seal_date" and self._dialect == "mysql":
                # Of the same digits, or it would never be the same.
                kind = f"DATETIME({found.columns['date_done'].precision or 0})"
            elif self._dialect == "mysql" and _FAMILIES[found.kinds[name]] == "text":
                kind += " CHARACTER SET utf8mb4"
            yield f"ALTER TABLE {table} ADD COLUMN {name} {kind}"

    def _indexes(self, connection: sa.Connection, found: _Found) -> Iterator[str]:
        table = self._quoted(found.place)
        there = catalog.indexes(connection, self._dialect, found.place) if found.columns else ()
        for column in ("date_done", "expires_at"):
            # The first one is Celery's own, by the name that it has there.
            name = f"ix_{found.name}_{column}"
            if name in there:
                continue
            partial = column == "expires_at" and self._dialect != "mysql"
            where = f" WHERE {column} IS NOT NULL" if partial else ""
            yield f"CREATE INDEX {name} ON {table} ({column}){where}"

    def _noting(self) -> Iterator[str]:
        versions, name = self._quoted(self._versions), self._settings.tasks
        yield (
            f"CREATE TABLE IF NOT EXISTS {versions} "
            "(name VARCHAR(155) PRIMARY KEY, version INTEGER NOT NULL)"
        )
        yield f"DELETE FROM {versions} WHERE name = '{name}'"
        yield f"INSERT INTO {versions} (name, version) VALUES ('{name}', {VERSION})"

    def _rows(self, connection: sa.Connection, found: _Found) -> int:
        """
        Return how many rows there are at most; a count would take long.
        """
        query = f"SELECT COALESCE(MAX(id) - MIN(id), 0) FROM {self._quoted(found.place)}"
        return int(connection.exec_driver_sql(query).scalar_one())

    def _last(self, connection: sa.Connection, found: _Found) -> int:
        query = f"SELECT COALESCE(MAX(id), 0) FROM {self._quoted(found.place)}"
        return int(connection.exec_driver_sql(query).scalar_one())

    def _script(self, connection: sa.Connection) -> str:
        """
        Return what somebody may do in our place.
        """
        script = []
        for found in self._find(connection)[:2]:
            script += [*self._changes(connection, found), *self._indexes(connection, found)]
        return "; ".join([*script, *self._noting()])


def _collated(*tables: _Found) -> Letters:
    """
    Return the letters that all the columns of MySQL's tables know.
    """
    texts = [c.collation for t in tables for c in t.columns.values() if c.collation]
    keys = [t.columns[t.key].collation or "" for t in tables if t.columns]
    lesser = {_MYSQL_LETTERS.get(text.partition("_")[0], "ascii") for text in texts} - {"utf-8"}
    encoding = "utf-8" if not lesser else lesser.pop() if len(lesser) == 1 else "ascii"
    exact = all(key.startswith("utf8mb4") and key.endswith("_bin") for key in keys)
    return Letters(encoding, padded=True, folded=not exact)


class _Lock:
    """
    Holds off others who want to migrate; a transaction, where the database has one for this.
    """

    def __init__(self, connection: sa.Connection, dialect: str) -> None:
        self._do = connection.exec_driver_sql
        self._begins = beginning(connection) or "BEGIN"
        self._dialect = dialect

    def __enter__(self) -> None:
        if self._dialect == "sqlite":
            self._do("BEGIN IMMEDIATE")
        elif self._dialect == "mysql":
            if not self._do(f"SELECT GET_LOCK('coatcheck_sql', {max(left(), 0.1):.3f})").scalar():
                raise sa.exc.TimeoutError("another process is migrating the tables")
        else:
            self._begin()

    def _begin(self) -> None:
        while True:
            self._do(self._begins)
            # Tried again and again instead of waited for: who waits holds a snapshot.
            if self._do(f"SELECT pg_try_advisory_xact_lock({_LOCK})").scalar():
                break
            self._do("ROLLBACK")
            if left() < 0:
                raise sa.exc.TimeoutError("another process is migrating the tables")
            self._do("SELECT pg_sleep(0.02)")  # not here: an event loop may be waiting
        # Others who write wait behind us while we wait for those who hold the table.
        self._do(f"SET LOCAL lock_timeout = {max(min(round(left() * 500), 1000), 1)}")

    def __exit__(self, kind: object, *_: object) -> None:
        if self._dialect == "mysql":
            if kind is None:  # after an error the connection is thrown away, and the lock with it
                self._do("SELECT RELEASE_LOCK('coatcheck_sql')")
        else:
            self._do("COMMIT" if kind is None else "ROLLBACK")


def _is_mariadb(connection: sa.Connection) -> bool:
    return bool(getattr(connection.dialect, "is_mariadb", False))


def _is_forbidden(error: sa.exc.DBAPIError) -> bool:
    readonly = "readonly" in str(error.orig) or "read-only" in str(error.orig)
    return state_of(error) == "42501" or code_of(error) in (1142, 1044) or readonly
