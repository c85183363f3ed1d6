"""
The tables, created or completed.

A migration takes place in one transaction under a lock. If many processes start at once, one of them does it and
the others find it done. It only adds: tables, columns that may be empty, and indexes if that is quick. The
version is in a table of our own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import sqlalchemy as sa

from .catalog import FAMILIES, GROUPS, TASKS, Found, TableName
from .errors import Unfit, code_of, state_of
from .letters import EXACT, Letters
from .limits import limited
from .settings import Settings
from .tables import Table

#: The version that this plugin writes.
VERSION: Final = 1
VERSIONS: Final = "coatcheck_versions"
#: A table with more rows than this gets no index from us, because nobody can write while it is made.
_MANY: Final = 200_000

#: The columns by which we recognise a table of Celery's.
_NEEDED: Final = ("id", "task_id", "taskset_id", "status", "result", "date_done")


class Layout(NamedTuple):
    """The tables as they are."""

    #: `None` if the table is missing.
    tasks: Table | None
    groups: Table | None
    #: Whether they have all our columns.
    complete: bool
    #: The ids that the key columns keep apart.
    letters: Letters = EXACT
    #: The largest record, in bytes, if known.
    limit: int | None = None
    #: Work that is left to do by hand.
    advice: str | None = None

    def written(self, *, grouped: bool = False) -> Table:
        """Return the table that a write uses, which exists by then."""
        table = self.groups if grouped else self.tasks
        assert table is not None  # noqa: S101 - see above
        return table


class Schema:
    """
    Looks the tables up, and adds all that records need. Works on SQLAlchemy's synchronous connections in
    autocommit.
    """

    def __init__(self, settings: Settings, *, channel: str | None) -> None:
        self._settings = settings
        self._channel = channel
        self._dialect = settings.dialect
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
        """Return the tables, created or completed if needed. Raises as `look` does."""
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
            with self._dialect.lock(connection):
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

    def _find(self, connection: sa.Connection) -> tuple[Found, Found, bool]:
        names = [self._tasks, self._groups, self._versions]
        tasks, groups, versions = self._dialect.columns(connection, names)
        return Found(names[0], tasks, TASKS), Found(names[1], groups, GROUPS), bool(versions)

    def _layout(self, connection: sa.Connection, tasks: Found, groups: Found) -> Layout:
        both = (tasks, groups)
        for found in both:
            self._check(found)
        letters, limit = self._dialect.capacity(connection, tasks, groups)
        return Layout(
            self._table(connection, tasks),
            self._table(connection, groups),
            all(found.columns and not found.missing for found in both),
            letters,
            limit,
        )

    def _check(self, found: Found) -> None:
        """
        Raise `Unfit` if the table is not Celery's, or if columns with our names have other types.
        """
        if not found.columns:
            return
        lacking = [n for n in _NEEDED if n in found.kinds and n not in found.columns]
        if lacking:
            raise Unfit(
                f"the table {found.shown} is not one of Celery's: it has no {', '.join(lacking)}; "
                f"name another one by the option {found.option}"
            )
        for name, kind in found.kinds.items():
            column = found.columns.get(name)
            if column is not None and column.family != FAMILIES[kind]:
                raise Unfit(
                    f"the column {name} of {found.shown} is of the type {column.family}, and has "
                    f"to be {self._dialect.types[kind]}: it is left as it is; rename it, or name another "
                    f"table by the option {found.option}"
                )
        key = found.columns[found.key]
        if not key.stored:
            raise Unfit(f"{found.shown} is no table; name another one by {found.option}")
        if not key.unique:
            raise Unfit(
                f"the table {found.shown} takes an id more than once, so no record can be the "
                f"first; remove what is doubled, and: ALTER TABLE {found.shown} ADD UNIQUE "
                f"({found.key})"
            )

    def _table(self, connection: sa.Connection, found: Found) -> Table | None:
        if not found.columns:
            return None
        return self._dialect.table(
            connection,
            found,
            zone=self._settings.timezone,
            channel=self._channel if found.key == "task_id" else None,
            present=frozenset(found.columns) if found.missing else None,
        )

    def _quoted(self, name: TableName) -> str:
        return self._dialect.quoted(name)

    def _version(self, connection: sa.Connection) -> int | None:
        query = f"SELECT version FROM {self._quoted(self._versions)} WHERE name = :name"
        found = connection.execute(sa.text(query), {"name": self._settings.tasks}).scalar()
        return None if found is None else int(found)

    # -- changing -------------------------------------------------------------------------

    def _migrate(self, connection: sa.Connection) -> str | None:
        """Bring the tables up to this version. Return the work that is left to do by hand."""
        statements: list[str] = []
        advice: list[str] = []
        for found in self._find(connection)[:2]:
            many = bool(found.columns) and self._rows(connection, found) > _MANY
            statements += self._changes(connection, found)
            (advice if many else statements).extend(self._indexes(connection, found))
        statements += self._noting()
        if self._dialect.joined:
            statements = ["; ".join(statements)]
        for statement in statements:
            connection.exec_driver_sql(statement)
        if not advice:
            return None
        return f"the tables are large, so no index was made; do it by hand: {'; '.join(advice)}"

    def _changes(self, connection: sa.Connection, found: Found) -> Iterator[str]:
        table = self._quoted(found.name)
        sequenced = self._dialect.is_sequenced(connection)
        if sequenced:
            start = f" START WITH {self._last(connection, found) + 1}" if found.columns else ""
            yield f"CREATE SEQUENCE IF NOT EXISTS {self._quoted(found.sequence)}{start}"
        if not found.columns:
            types = self._dialect.types
            types = {**types, "id": types["sequenced" if sequenced else "id"]}
            columns = ", ".join(f"{name} {types[kind]}" for name, kind in found.kinds.items())
            unique = f"UNIQUE ({found.key})"
            yield f"CREATE TABLE {table} ({columns}, {unique}){self._dialect.table_options}"
            return
        for name in found.missing:
            yield f"ALTER TABLE {table} ADD COLUMN {name} {self._dialect.added_type(found, name)}"

    def _indexes(self, connection: sa.Connection, found: Found) -> Iterator[str]:
        table = self._quoted(found.name)
        there = self._dialect.indexes(connection, found.name) if found.columns else ()
        for column in ("date_done", "expires_at"):
            # The first index is Celery's own, with Celery's name.
            name = f"ix_{found.shown}_{column}"
            if name in there:
                continue
            partial = column == "expires_at" and self._dialect.partial_indexes
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

    def _rows(self, connection: sa.Connection, found: Found) -> int:
        """Return the largest possible number of rows; a count would take long."""
        query = f"SELECT COALESCE(MAX(id) - MIN(id), 0) FROM {self._quoted(found.name)}"
        return int(connection.exec_driver_sql(query).scalar_one())

    def _last(self, connection: sa.Connection, found: Found) -> int:
        query = f"SELECT COALESCE(MAX(id), 0) FROM {self._quoted(found.name)}"
        return int(connection.exec_driver_sql(query).scalar_one())

    def _script(self, connection: sa.Connection) -> str:
        """Return the statements for somebody who has the right to run them."""
        script = []
        for found in self._find(connection)[:2]:
            script += [*self._changes(connection, found), *self._indexes(connection, found)]
        return "; ".join([*script, *self._noting()])


def _is_forbidden(error: sa.exc.DBAPIError) -> bool:
    readonly = "readonly" in str(error.orig) or "read-only" in str(error.orig)
    return state_of(error) == "42501" or code_of(error) in (1142, 1044) or readonly
