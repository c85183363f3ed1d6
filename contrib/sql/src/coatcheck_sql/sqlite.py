"""
SQLite by way of SQLAlchemy: its statements, its catalog, and its lock for migrations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar

import sqlalchemy as sa

from coatcheck.plugin import Unless

from .catalog import Column, Columns, Found, TableName, family_of
from .dialect import Dialect
from .operations import Ask, Together
from .records import Record
from .statements import CHUNK
from .tables import Table, moment_of_wall, states_of, until
from .wire import Statement


class SQLiteTable(Table):
    """Times are text. This machine's clock is the database's clock."""

    same = "IS"
    now = ":now"

    def ends(self) -> str:
        return ":until"

    def moment(self) -> dict[str, Any]:
        return {"now": _text(moment_of_wall())}

    def before(self, seconds: float) -> str:
        return self.earliest(seconds).isoformat(" ", "microseconds")

    def dated(self, moment: datetime) -> str:
        return _text(moment)

    def parameters(self, values: Mapping[str, Any], expires: float | None) -> dict[str, Any]:
        seconds, now = until(expires), moment_of_wall()
        given = dict.fromkeys(self.columns) | {
            name: _text(value) if isinstance(value, datetime) else value
            for name, value in values.items()
        }
        done = values.get("date_done")
        given["date_done"] = None if done is None else _text(done.astimezone(self.zone))
        given["until"] = None if seconds is None else _text(now + timedelta(seconds=seconds))
        return {**given, "now": _text(now)}

    def storing(self, record: Record, unless: Unless, expires: float | None) -> Ask[bool]:
        given = {**self.parameters(record.values, expires), **states_of(unless)}
        return Ask(self.statement("store", unless), given, bool)

    def storing_many(
        self, records: Sequence[Record], unless: Unless, expires: float | None
    ) -> Together[set[str | None]]:
        return Together(
            [self.storing(record, unless, expires) for record in records],
            lambda won: {r.write_id for r, is_won in zip(records, won, strict=True) if is_won},
            begin="BEGIN IMMEDIATE",
        )

    def store(self, unless: Unless) -> Statement:
        """Return the upsert of a record."""
        values = ", ".join(map(self.value, self.written))
        return Statement(self.upsert(self.written, f"VALUES ({values})", unless))

    def purge(self) -> Statement:
        return Statement(
            f"DELETE FROM {self.name} WHERE id IN (SELECT r.id FROM {self.name} AS r "
            f"WHERE {self.expired} LIMIT {CHUNK})"
        )


def _text(value: datetime) -> str:
    return value.replace(tzinfo=None).isoformat(" ", "microseconds")


class SQLite(Dialect):
    """SQLite, by way of any driver."""

    name = "sqlite"
    portion = 500
    largest = 900_000_000
    is_file = True
    types: ClassVar[Mapping[str, str]] = {
        "id": "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT", "key": "VARCHAR(155)",
        "status": "VARCHAR(50)", "blob": "BLOB", "text": "TEXT", "name": "VARCHAR(155)",
        "word": "VARCHAR(64)", "integer": "INTEGER", "date": "DATETIME", "local": "DATETIME",
    }  # fmt: skip

    def columns(self, connection: sa.Connection, names: Sequence[TableName]) -> list[Columns]:
        return [self._columns(connection, name) for name in names]

    def _columns(self, connection: sa.Connection, name: TableName) -> Columns:
        def ask(pragma: str, of: str) -> list[Any]:
            prefix = f'"{name[1]}".' if name[1] else ""
            return list(connection.exec_driver_sql(f'PRAGMA {prefix}{pragma}("{of}")'))

        # A pragma does not see new tables of another process before a statement has noticed them.
        connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1")
        # The columns first: a table that is created between the two has its indexes by then.
        columns = ask("table_info", name[0])
        unique = set()
        for _, index, is_unique, _, partial in ask("index_list", name[0]):
            members = ask("index_info", index)
            if is_unique and not partial and len(members) == 1:
                unique.add(members[0][2])
        return {row[1]: Column(family_of(row[2]), row[1] in unique) for row in columns}

    def indexes(self, connection: sa.Connection, name: TableName) -> set[str]:
        return {row[1] for row in connection.exec_driver_sql(f'PRAGMA index_list("{name[0]}")')}

    def table(self, connection: sa.Connection, found: Found, **options: Any) -> SQLiteTable:
        options.pop("channel")
        return SQLiteTable(self.quoted(found.name), found.key, **options)

    @contextmanager
    def lock(self, connection: sa.Connection) -> Iterator[None]:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        with self.transaction(connection):
            yield
