"""
PostgreSQL: its statements, its catalog, and its lock for migrations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final

import sqlalchemy as sa

from coatcheck.plugin import Unless

from .catalog import Columns, Found, TableName, collected
from .deadline import left
from .dialect import LOCK, Dialect
from .letters import Letters, letters_of
from .limits import beginning
from .operations import Ask
from .records import COLUMNS, Record
from .statements import CHUNK, SEALS
from .tables import Table, moment_of_wall, states_of, until
from .wire import Statement

_COLUMNS: Final = """
SELECT CASE c.oid WHEN to_regclass(:t0) THEN 0 WHEN to_regclass(:t1) THEN 1 ELSE 2 END,
    a.attname, t.typname, EXISTS (
        SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
        AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum
    ), NULL, NULL, NULL, c.relkind IN ('r', 'p'), FALSE
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.oid IN (to_regclass(:t0), to_regclass(:t1), to_regclass(:t2))
"""
_INDEXES: Final = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(:name)
"""


class PostgreSQLTable(Table):
    """
    Rows are numbered by the sequence that Celery makes; a write rings in its own statement.

    Args:
        sequence: its name, quoted.
        channel: where writes ring; `None`: nowhere.
    """

    types: ClassVar[Mapping[str, str]] = {
        "result": "bytea", "children": "bytea", "args": "bytea", "kwargs": "bytea",
        "failure": "bytea", "heartbeat": "bytea", "more": "bytea", "full_id": "bytea",
        "stamps": "bytea", "expires_at": "timestamptz",
        "date_done": "timestamptz", "date_started": "timestamptz", "done_at": "timestamptz",
        "retries": "integer", "attempt": "integer", "v": "integer", "sealed": "boolean",
        "before": "timestamptz", "since": "timestamptz", "before_day": "timestamptz",
        "since_day": "timestamptz", "last": "bigint", "end": "bigint", "size": "bigint",
        "magic": "bytea", "alive": "boolean",
        **dict.fromkeys((f"{name}{n}" for name in ("moment", "written") for n in range(8)), "timestamptz"),
    }  # fmt: skip

    def __init__(
        self, name: str, key: str, *, sequence: str, channel: str | None = None, **options: Any
    ) -> None:
        super().__init__(name, key, **options)
        self._sequence = sequence
        self._channel = channel

    def field(self, column: str) -> str:
        # Celery writes a date with a zone into a column without one, so the server converts it to the
        # session's zone. Reading in the same zone reverses that.
        if column == "date_done":
            return "(r.date_done AT TIME ZONE current_setting('TimeZone'))"
        return f"r.{column}"

    def bind(self, column: str) -> str:
        return f"CAST(:{column} AS {self.type_of(column)})"

    def matched(self, column: str) -> str:
        return f"CAST(:match_{column} AS {self.type_of(column)})"

    def ends(self) -> str:
        return f"{self.now} + make_interval(secs => CAST(:expires AS double precision))"

    def among(self) -> str:
        return f"r.{self.key} = ANY(CAST(:keys AS text[]))"

    def of_keys(self, text: str, types: Mapping[str, str] | None = None) -> Statement:
        return Statement(
            text, types or {}
        )  # a list is one value: one statement for any number of keys

    def parameters(self, values: Mapping[str, Any], expires: float | None) -> dict[str, Any]:
        return {**dict.fromkeys(self.columns), **values, "expires": until(expires)}

    def before(self, seconds: float) -> datetime:
        return moment_of_wall(seconds)

    def dated(self, moment: datetime) -> datetime:
        return moment

    def storing(self, record: Record, unless: Unless, expires: float | None) -> Ask[bool]:
        # Only the columns that it has: less work for libpq and for the server.
        statement = self.statement("store", unless, tuple(record.values))
        given = {**record.values, "expires": until(expires), **states_of(unless)}
        return Ask(statement, given, bool)

    def storing_many(
        self, records: Sequence[Record], unless: Unless, expires: float | None
    ) -> Ask[set[str | None]]:
        names = set().union(*(record.values for record in records))
        columns = tuple(name for name in COLUMNS if name in names)
        given: dict[str, Any] = {n: [r.values.get(n) for r in records] for n in columns}
        given |= {"expires": until(expires), **states_of(unless)}
        answer = partial(self._won, records)
        return Ask(self.statement("store_batch", unless, columns), given, answer)

    def _won(self, records: Sequence[Record], rows: Sequence[Mapping[str, Any]]) -> set[str | None]:
        won = {row[self.key] for row in rows}
        return {record.write_id for record in records if record.key in won}

    def store(self, unless: Unless, given: Collection[str]) -> Statement:
        """Return the upsert of a record that has only the columns *given*."""
        columns = [c for c in self.written if c in given or c in SEALS]
        source = ", ".join(map(self.value, columns))
        return Statement(self._elect(columns, source, f":{self.key}", unless))

    def store_batch(self, unless: Unless, given: Sequence[str]) -> Statement:
        """
        Return the upsert of many records that have only the columns *given*. Each parameter is a list
        with one value for each record.
        """
        lists = ", ".join(f"CAST(:{c} AS {self.type_of(c)}[])" for c in given)
        values = [f"n.{column}" for column in given] + [self.ends(), "n.status", "n.date_done"]
        source = f"{', '.join(values)} FROM unnest({lists}) AS n({', '.join(given)})"
        text = self._elect((*given, *SEALS), source, f"n.{self.key}", unless)
        return Statement(text, {self.key: "text", **({"rung": "void"} if self._channel else {})})

    def _elect(self, columns: Sequence[str], source: str, key: str, unless: Unless) -> str:
        # A number is taken only for a new row: Celery's column has no more than 31 bits.
        number = (
            f"COALESCE((SELECT o.id FROM {self.name} AS o WHERE o.{self.key} = {key}), "
            f"nextval('{self._sequence}'))"
        )
        upsert = self.upsert(("id", *columns), f"SELECT {number}, {source}", unless)
        return f"{upsert} {self.told()}"

    def told(self) -> str:
        rung = f", pg_notify('{self._channel}', r.{self.key}) AS rung" if self._channel else ""
        return f"RETURNING r.{self.key}{rung}"

    def purge(self) -> Statement:
        return Statement(
            f"WITH gone AS MATERIALIZED (SELECT r.id FROM {self.name} AS r WHERE {self.expired} "
            f"ORDER BY r.expires_at LIMIT {CHUNK} FOR UPDATE SKIP LOCKED) "
            f"DELETE FROM {self.name} AS r USING gone WHERE r.id = gone.id"
        )


class PostgreSQL(Dialect):
    """PostgreSQL, by way of any driver."""

    name = "postgresql"
    portion = 500
    largest = 250_000_000
    has_zones = True
    joined = True
    types: ClassVar[Mapping[str, str]] = {
        "sequenced": "BIGINT PRIMARY KEY", "key": "VARCHAR(155)", "status": "VARCHAR(50)",
        "blob": "BYTEA", "text": "TEXT", "name": "VARCHAR(155)", "word": "VARCHAR(64)",
        "integer": "INTEGER", "date": "TIMESTAMP WITH TIME ZONE", "local": "TIMESTAMP",
    }  # fmt: skip
    engine_options: ClassVar[Mapping[str, Any]] = {"use_native_hstore": False}

    def columns(self, connection: sa.Connection, names: Sequence[TableName]) -> list[Columns]:
        given = {f"t{n}": self.quoted(name) for n, name in enumerate(names)}
        return collected(connection.execute(sa.text(_COLUMNS), given), len(names))

    def indexes(self, connection: sa.Connection, name: TableName) -> set[str]:
        rows = connection.execute(sa.text(_INDEXES), {"name": self.quoted(name)})
        return {row[0] for row in rows}

    def table(self, connection: sa.Connection, found: Found, **options: Any) -> PostgreSQLTable:
        sequence = self.quoted(found.sequence)
        return PostgreSQLTable(self.quoted(found.name), found.key, sequence=sequence, **options)

    def is_sequenced(self, connection: sa.Connection) -> bool:
        return True

    def capacity(self, connection: sa.Connection, *tables: Found) -> tuple[Letters, int | None]:
        info = connection.connection.driver_connection.info  # type: ignore[union-attr]
        return letters_of(info.parameter_status("server_encoding")), None

    @contextmanager
    def lock(self, connection: sa.Connection) -> Iterator[None]:
        do, begin = connection.exec_driver_sql, beginning(connection) or "BEGIN"
        do(begin)
        # Try again and again instead of waiting, because a waiting session holds a snapshot.
        while not do(f"SELECT pg_try_advisory_xact_lock({LOCK})").scalar():
            do("ROLLBACK")
            if left() < 0:
                raise sa.exc.TimeoutError("another process is migrating the tables")
            do("SELECT pg_sleep(0.02)")  # not here: an event loop may be waiting
            do(begin)
        # Other writers wait behind us while we wait for the table.
        do(f"SET LOCAL lock_timeout = {max(min(round(left() * 500), 1000), 1)}")
        with self.transaction(connection):
            yield
