"""
MariaDB and MySQL: their statements, their catalog, and their lock for migrations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar, Final

import sqlalchemy as sa

from coatcheck.plugin import Unless

from .catalog import FAMILIES, Columns, Found, TableName, collected
from .deadline import left
from .dialect import Dialect
from .letters import BASIC, Letters
from .operations import Ask, Row, Together
from .records import Record
from .statements import CHUNK
from .tables import Table, states_of, until
from .wire import Statement

_COLUMNS: Final = """
SELECT CASE WHEN c.table_name = :n0 AND c.table_schema = COALESCE(:s0, DATABASE()) THEN 0
    WHEN c.table_name = :n1 AND c.table_schema = COALESCE(:s1, DATABASE()) THEN 1 ELSE 2 END,
    c.column_name, c.data_type, c.column_key IN ('UNI', 'PRI'),
    c.collation_name, c.character_maximum_length, c.datetime_precision, c.privileges <> '',
    c.extra LIKE '%auto_increment%'
FROM information_schema.columns c
WHERE c.table_name IN (:n0, :n1, :n2) AND c.table_schema IN
    (COALESCE(:s0, DATABASE()), COALESCE(:s1, DATABASE()), COALESCE(:s2, DATABASE()))
"""
_INDEXES: Final = """
SELECT index_name FROM information_schema.statistics WHERE table_name = :name
AND table_schema = COALESCE(:schema, DATABASE())
"""
#: MySQL's names of character sets, and ours. Of all others only ASCII is used.
_LETTERS: Final = {"utf8mb4": "utf-8", "utf8": BASIC, "utf8mb3": BASIC, "latin1": "cp1252"}


class MySQLTable(Table):
    """
    Assignments take place one after the other and see those before them. So the first one decides, and the
    others check whether it took place.

    Args:
        returning: whether a write says which rows it wrote, as in MariaDB.
        sequence: the name of the sequence that numbers rows, quoted; `None` if the column numbers them.
    """

    same = "<=>"
    now = "UTC_TIMESTAMP(6)"

    def __init__(
        self, name: str, key: str, *, returning: bool = True, sequence: str | None = None,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(name, key, **options)
        self._sequence = sequence
        self.returning = returning

    def ends(self) -> str:
        return f"{self.now} + INTERVAL :microseconds MICROSECOND"

    def before(self, seconds: float) -> datetime:
        return self.earliest(seconds)

    def dated(self, moment: datetime) -> datetime:
        return moment.replace(tzinfo=None)

    def parameters(self, values: Mapping[str, Any], expires: float | None) -> dict[str, Any]:
        seconds = until(expires)
        given = dict.fromkeys(self.columns) | {
            name: value.replace(tzinfo=None) if isinstance(value, datetime) else value
            for name, value in values.items()
        }
        done = values.get("date_done")
        if done is not None:
            given["date_done"] = done.astimezone(self.zone).replace(tzinfo=None)
        given["microseconds"] = None if seconds is None else round(seconds * 1_000_000)
        return given

    def storing(self, record: Record, unless: Unless, expires: float | None) -> Together[bool]:
        return Together(self._steps(record, unless, expires), lambda won: bool(won[-1]))

    def storing_many(
        self, records: Sequence[Record], unless: Unless, expires: float | None
    ) -> Together[set[str | None]]:
        steps = [self._steps(record, unless, expires) for record in records]
        last = len(steps[0])

        def won(answers: list[Any]) -> set[str | None]:
            stored = zip(records, answers[last - 1 :: last], strict=True)
            return {record.write_id for record, is_won in stored if is_won}

        return Together([ask for asks in steps for ask in asks], won)

    def _steps(self, record: Record, unless: Unless, expires: float | None) -> list[Ask[Any]]:
        """
        Return the statements that store *record*; the last one answers whether it is the record now.
        """

        def is_won(rows: list[Row]) -> bool:
            return bool(rows) and rows[0]["write_id"] == record.write_id

        given = {**self.parameters(record.values, expires), **states_of(unless)}
        store = self.statement("store", unless, self.returning)
        if self.returning or self.grouped:
            return [Ask(store, given, list if self.grouped else is_won)]
        # Within the transaction nobody else can have written since.
        return [Ask(store, given, list), Ask(self.statement("own"), {"key": record.key}, is_won)]

    def store(self, unless: Unless, returning: bool) -> Statement:  # noqa: FBT001 - part of a key
        """Return the upsert of a record."""
        written = self.written
        columns, values = ", ".join(written), ", ".join(map(self.value, written))
        if self._sequence is not None:
            columns, values = f"id, {columns}", f"{self._number()}, {values}"
        insert = f"INSERT INTO {self.name} ({columns}) VALUES ({values}) ON DUPLICATE KEY UPDATE "
        if self.grouped:
            changes = ", ".join(f"{c} = VALUES({c})" for c in written if c != self.key)
            return Statement(insert + changes)
        may = self.may_replace(unless).replace("r.", "")
        first = f"write_id = IF({may}, VALUES(write_id), write_id), "
        rest = ", ".join(
            f"{c} = IF(write_id = VALUES(write_id), VALUES({c}), {c})"
            for c in written
            if c not in (self.key, "write_id")
        )
        answer = f" RETURNING {self.key}, write_id" if returning else ""
        return Statement(insert + first + rest + answer)

    def own(self) -> Statement:
        """Return the query for the `write_id` of the row `:key`."""
        return Statement(f"SELECT write_id FROM {self.name} WHERE {self.key} = :key")

    def _number(self) -> str:
        # Only a new row takes a number. MariaDB reads from the table that it writes only through a derived
        # table.
        there = f"SELECT o.id FROM {self.name} AS o WHERE o.{self.key} = :{self.key}"
        return f"COALESCE((SELECT d.id FROM ({there}) AS d), NEXTVAL({self._sequence}))"

    def deleted(self) -> str:
        return f"r USING {self.name} AS r"

    def updated(self) -> str:
        return f"{self.name} r"

    def purge(self) -> Statement:
        expired = self.expired.replace("r.", "")
        return Statement(
            f"DELETE FROM {self.name} WHERE {expired} ORDER BY expires_at LIMIT {CHUNK}"
        )


class MySQL(Dialect):
    """MariaDB and MySQL, by way of any driver."""

    name = "mysql"
    portion = 250  # each is a round trip
    largest = 500_000_000
    mark = "`"
    table_options = " DEFAULT CHARACTER SET utf8mb4"
    partial_indexes = False
    types: ClassVar[Mapping[str, str]] = {
        "id": "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY", "sequenced": "BIGINT PRIMARY KEY",
        "key": "VARCHAR(155) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "status": "VARCHAR(50)", "blob": "LONGBLOB", "text": "LONGTEXT", "name": "VARCHAR(155)",
        "word": "VARCHAR(64)", "integer": "INTEGER", "date": "DATETIME(6)", "local": "DATETIME(6)",
    }  # fmt: skip

    def columns(self, connection: sa.Connection, names: Sequence[TableName]) -> list[Columns]:
        given: dict[str, Any] = {f"n{n}": name for n, (name, _) in enumerate(names)}
        given |= {f"s{n}": schema for n, (_, schema) in enumerate(names)}
        return collected(connection.execute(sa.text(_COLUMNS), given), len(names))

    def indexes(self, connection: sa.Connection, name: TableName) -> set[str]:
        given = {"name": name[0], "schema": name[1]}
        return {row[0] for row in connection.execute(sa.text(_INDEXES), given)}

    def table(self, connection: sa.Connection, found: Found, **options: Any) -> MySQLTable:
        options.pop("channel")
        mariadb = self.is_sequenced(connection)
        numbered = found.columns["id"].numbered or not mariadb
        return MySQLTable(
            self.quoted(found.name), found.key, returning=mariadb,
            sequence=None if numbered else self.quoted(found.sequence), **options,
        )  # fmt: skip

    def is_sequenced(self, connection: sa.Connection) -> bool:
        # As Celery does: SQLAlchemy knows that MariaDB has sequences.
        return bool(getattr(connection.dialect, "is_mariadb", False))

    def added_type(self, found: Found, name: str) -> str:
        kind = super().added_type(found, name)
        if name == "seal_date":
            # Of the same digits, or it would never be the same.
            return f"DATETIME({found.columns['date_done'].precision or 0})"
        return f"{kind} CHARACTER SET utf8mb4" if FAMILIES[found.kinds[name]] == "text" else kind

    def capacity(self, connection: sa.Connection, *tables: Found) -> tuple[Letters, int | None]:
        packet = connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one()
        # Values are sent as text, with marks before some of their bytes.
        limit = (int(packet) - 65_536) // 2
        size = tables[0].columns["result"].length if tables[0].columns else None
        return _letters(*tables), min(limit, size or limit)

    @contextmanager
    def lock(self, connection: sa.Connection) -> Iterator[None]:
        do = connection.exec_driver_sql
        if not do(f"SELECT GET_LOCK('coatcheck_sql', {max(left(), 0.1):.3f})").scalar():
            raise sa.exc.TimeoutError("another process is migrating the tables")
        yield
        # After an error the connection is thrown away, and the lock with it.
        do("SELECT RELEASE_LOCK('coatcheck_sql')")


def _letters(*tables: Found) -> Letters:
    """Return the letters that all the columns of *tables* know."""
    texts = [c.collation for t in tables for c in t.columns.values() if c.collation]
    keys = [t.columns[t.key].collation or "" for t in tables if t.columns]
    lesser = {_LETTERS.get(text.partition("_")[0], "ascii") for text in texts} - {"utf-8"}
    encoding = "utf-8" if not lesser else lesser.pop() if len(lesser) == 1 else "ascii"
    exact = all(key.startswith("utf8mb4") and key.endswith("_bin") for key in keys)
    return Letters(encoding, padded=True, folded=not exact)
