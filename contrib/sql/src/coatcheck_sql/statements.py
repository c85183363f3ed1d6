"""
What each database is asked to do. No I/O.

Statements are SQLAlchemy's `text`, with names for what is put into them; tables and columns are
ours, and never a value of anybody's. Whether a record may be replaced is decided by the database,
in the statement that writes it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

from coatcheck.plugin import ANY, Unless, wall

from .records import COLUMNS
from .wire import Statement

#: How many expired rows one statement deletes.
CHUNK: Final = 1000
#: Lives that are longer than this, in seconds, end in no year that a date has.
_FOR_EVER: Final = 7_000 * 365.25 * 86_400
#: A state that stands in a statement as it is.
_PLAIN: Final = re.compile("[A-Z_]+")
#: What a write gives besides the columns of a record.
_SEALS: Final = ("expires_at", "seal_status", "seal_date")
_GROUP_COLUMNS: Final = ("taskset_id", "full_id", "result", "date_done", "serializer")
#: What readers get of each table, with what the statement makes of the rest.
TASK_FIELDS: Final = (*COLUMNS, "stamps", "expires_at")
GROUP_FIELDS: Final = _GROUP_COLUMNS
#: What belongs to Celery: the rest may be missing where nothing was ever written by us.
CELERYS: Final = frozenset(
    {
        "id", "task_id", "status", "result", "date_done", "traceback", "children", "name", "args",
        "kwargs", "worker", "retries", "queue", "stamps", "taskset_id",
    }
)  # fmt: skip


def until(expires: float | None) -> float | None:
    """
    Return *expires*, or `None` where no date can say so.
    """
    return None if expires is None or expires > _FOR_EVER else float(expires)


@lru_cache(maxsize=256)
def _marked(unless: Unless) -> Mapping[str, str]:
    if unless is ANY or all(map(_PLAIN.fullmatch, unless)):
        return {}
    states = enumerate(sorted(unless))
    return {f"u{n}": state for n, state in states if not _PLAIN.fullmatch(state)}


class Table(ABC):
    """
    One of the two tables, in the SQL of one database.

    Args:
        name: the table's, quoted, with its schema.
        key: its column of ids.
        present: its columns; `None` where it has all of ours.
    """

    #: Null-safe equality.
    same = "IS NOT DISTINCT FROM"
    #: The moment, in the type of `expires_at`.
    now = "statement_timestamp()"
    #: Whether a batch is one statement.
    at_once = False
    #: Whether a write says which rows it wrote.
    returning = True

    def __init__(self, name: str, key: str, *, present: Collection[str] | None = None) -> None:
        self.name = name
        self.key = key
        self.present = present
        self.grouped = key == "taskset_id"
        self.store = lru_cache(maxsize=256)(self._store)
        self._made: dict[str, Any] = {}

    def statement(self, name: str) -> Any:
        """
        Return what the method *name* returns, made once.
        """
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = getattr(self, name)()
        return made

    # -- what the databases say differently -----------------------------------------------

    def bind(self, column: str) -> str:
        """
        Return how a value of *column* stands in a statement.
        """
        return f":{column}"

    def field(self, column: str) -> str:
        """
        Return how *column* is read.
        """
        return f"r.{column}"

    @abstractmethod
    def ends(self) -> str:
        """
        Return the end of a life of `:expires` seconds.
        """

    def parameters(self, values: dict[str, Any], expires: float | None) -> dict[str, Any]:
        """
        Return what to give with `store`.
        """
        blank = dict.fromkeys(self._columns())
        return {**blank, **values, "expires": until(expires), **self.moment()}

    def moment(self) -> dict[str, Any]:
        """
        Return what to give with every statement that looks at the time.
        """
        return {}

    # -- conditions -----------------------------------------------------------------------

    @property
    def sealed(self) -> str:
        """
        Whether our columns belong to Celery's: nobody else wrote over the row since.
        """
        status = "" if self.grouped else "r.seal_status = r.status AND "
        return f"({status}r.seal_date {self.same} r.date_done)"

    @property
    def expired(self) -> str:
        return f"(r.expires_at <= {self.now} AND {self.sealed})"

    @property
    def alive(self) -> str:
        if self.present is not None and not {"expires_at", "seal_date"} <= set(self.present):
            return "1 = 1"
        return f"{self.expired} IS NOT TRUE"

    def may_replace(self, unless: Unless) -> str:
        """
        Return the condition on the row that is there; the states are `:u0`, `:u1` and so on.
        """
        if unless is ANY:
            return f"({self.expired} IS TRUE)"
        if not unless:
            return "(1 = 1)"
        # Plain words stand in the statement: of parameters the driver would make something each time.
        marks = [
            f"'{state}'" if _PLAIN.fullmatch(state) else f":u{number}"
            for number, state in enumerate(sorted(unless))
        ]
        return (
            f"(r.status IS NULL OR r.status NOT IN ({', '.join(marks)}) OR {self.expired} IS TRUE)"
        )

    def states(self, unless: Unless) -> Mapping[str, str]:
        """
        Return the values of those marks.
        """
        return _marked(unless)

    # -- writing --------------------------------------------------------------------------

    def _columns(self) -> tuple[str, ...]:
        return _GROUP_COLUMNS if self.grouped else COLUMNS

    def _written(self) -> tuple[str, ...]:
        return (*self._columns(), *(s for s in _SEALS if s != "seal_status" or not self.grouped))

    def _value(self, column: str) -> str:
        seals = {"seal_status": "status", "seal_date": "date_done"}
        return self.ends() if column == "expires_at" else self.bind(seals.get(column, column))

    def _values(self) -> list[str]:
        return [self._value(column) for column in self._written()]

    @abstractmethod
    def _store(self, unless: Unless) -> sa.TextClause:
        """
        Return what elects and stores.
        """

    def store_over(self) -> sa.TextClause:
        """
        Return what puts a record in place of exactly the one that was read.
        """
        pairs = zip(self._written(), self._values(), strict=True)
        changes = ", ".join(f"{c} = {v}" for c, v in pairs if c != self.key)
        match = " AND ".join(
            f"{self.field(name)} {self.same} {self.matched(name)}"
            for name in ("write_id", "status", "date_done", "result")
        )
        return sa.text(
            f"UPDATE {self.name} AS r SET {changes} WHERE r.{self.key} = :{self.key} "
            f"AND (({match}) OR r.write_id = :write_id) AND {self.alive}"
        )

    def matched(self, column: str) -> str:
        """
        Return how what was read of *column* stands in a condition.
        """
        return f":match_{column}"

    def delete(self) -> sa.TextClause:
        """
        Return what deletes `:keys` that live.
        """
        return self._with_keys(
            f"DELETE FROM {self._deleted()} WHERE {self._among()} AND {self.alive}"
        )

    def _deleted(self) -> str:
        return f"{self.name} AS r"

    @abstractmethod
    def purge(self) -> sa.TextClause:
        """
        Return what deletes up to `CHUNK` rows that have expired, and passes over those in use.
        """

    def purge_others(self) -> sa.TextClause:
        """
        Return what deletes up to `CHUNK` rows that other programs wrote before `:before`.
        """
        older = f"r.date_done < :before AND {self.sealed} IS NOT TRUE"
        # MariaDB deletes from no table that it selects from, but by way of another one.
        found = f"SELECT r.id FROM {self.name} AS r WHERE {older} LIMIT {CHUNK}"
        return sa.text(f"DELETE FROM {self.name} WHERE id IN (SELECT d.id FROM ({found}) AS d)")

    # -- reading --------------------------------------------------------------------------

    def _among(self) -> str:
        return f"r.{self.key} IN :keys"

    def _equals(self) -> str:
        return f"r.{self.key} = :key"

    def _with_keys(self, statement: str) -> sa.TextClause:
        return sa.text(statement).bindparams(sa.bindparam("keys", expanding=True))

    def known(self) -> tuple[str, ...]:
        """
        Return what `read` reads, in its order.
        """
        names = GROUP_FIELDS if self.grouped else TASK_FIELDS
        if self.present is None:
            return (*names, "sealed")
        seals = ("sealed",) if "seal_date" in self.present else ()
        return (*(name for name in names if name in self.present), *seals)

    def read(self) -> sa.TextualSelect:
        """
        Return what reads the rows of `:keys` that live.
        """
        statement = self._with_keys(self._select(self._among()))
        # Named, so that they are not looked up for each result.
        return statement.columns(*map(sa.column, self.known()))

    def read_one(self) -> sa.TextClause:
        """
        Return what reads the row of `:key`, if that lives.
        """
        return sa.text(self._select(self._equals()))

    def _select(self, condition: str) -> str:
        own = {"sealed": self.sealed}
        fields = [f"{own.get(name) or self.field(name)} AS {name}" for name in self.known()]
        return (
            f"SELECT {', '.join(fields)} FROM {self.name} AS r WHERE {condition} AND {self.alive}"
        )

    def own(self) -> sa.TextClause:
        """
        Return what reads who wrote the rows of `:keys`.
        """
        return self._with_keys(
            f"SELECT r.{self.key}, r.write_id FROM {self.name} AS r WHERE {self._among()}"
        )

    def page(self) -> sa.TextClause:
        """
        Return what reads `:size` ids behind `:last`, by the primary key, which writes do not
        change. Those that have expired come too, marked, so that a page takes no longer for them.
        """
        full = "r.full_id" if self.present is None or "full_id" in self.present else "NULL"
        return sa.text(
            f"SELECT r.id AS number, r.{self.key} AS {self.key}, {full} AS full_id, r.status, "
            f"({self.alive}) AS alive FROM {self.name} AS r "
            "WHERE r.id > :last ORDER BY r.id LIMIT :size"
        )


class PostgreSQL(Table):
    """
    Rows are numbered by the sequence that Celery makes; a write rings in its own statement.
    """

    at_once = True
    _TYPES: Final = {
        "result": "bytea", "children": "bytea", "args": "bytea", "kwargs": "bytea",
        "failure": "bytea", "heartbeat": "bytea", "more": "bytea", "full_id": "bytea",
        "stamps": "bytea", "expires_at": "timestamptz",
        "date_done": "timestamptz", "date_started": "timestamptz", "done_at": "timestamptz",
        "retries": "integer", "attempt": "integer", "v": "integer",
    }  # fmt: skip

    def __init__(
        self, name: str, key: str, *, sequence: str, channel: str | None = None,
        present: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, key, present=present)
        self._sequence = sequence
        self._channel = channel
        self.sent_store = lru_cache(maxsize=256)(self._sent_store)
        self.store_batch = lru_cache(maxsize=64)(self._store_batch)
        self.sent_batch = lru_cache(maxsize=64)(self._sent_batch)
        self.sent_read = lru_cache(maxsize=2)(self._sent_read)

    def field(self, column: str) -> str:
        # Celery gives a date with its zone to a column that has none, so the server makes it the
        # clock of the session's zone. Read in the same session it is the same again.
        if column == "date_done":
            return "(r.date_done AT TIME ZONE current_setting('TimeZone'))"
        return f"r.{column}"

    def _type(self, column: str) -> str:
        return self._TYPES.get(column, "text")

    def bind(self, column: str) -> str:
        return f"CAST(:{column} AS {self._type(column)})"

    def ends(self) -> str:
        return f"{self.now} + make_interval(secs => CAST(:expires AS double precision))"

    def matched(self, column: str) -> str:
        return f"CAST(:match_{column} AS {self._type(column)})"

    def _among(self) -> str:
        return f"r.{self.key} = ANY(CAST(:keys AS text[]))"

    def _with_keys(self, statement: str) -> sa.TextClause:
        return sa.text(statement)  # a list is one value: one statement for any number of keys

    def _store(self, unless: Unless) -> sa.TextClause:
        return self._insert(self._written(), self._values(), "", f":{self.key}", unless)

    def _sent_store(self, unless: Unless, given: tuple[str, ...]) -> Statement:
        """
        Return what libpq is told to store a record that has no columns but those *given*: less work
        for it and for the server.
        """
        columns = [c for c in self._written() if c in (*given, *_SEALS)]
        values = list(map(self._value, columns))
        return Statement(self._insert(columns, values, "", f":{self.key}", unless).text)

    def _sent_read(self, statement: str) -> Statement:
        """
        Return how libpq is told to read by the *statement* of that name.
        """
        types = {n: "boolean" if n == "sealed" else self._type(n) for n in self.known()}
        condition = self._equals() if statement == "read_one" else self._among()
        return Statement(self._select(condition), types)

    def _store_batch(self, unless: Unless, given: tuple[str, ...]) -> sa.TextClause:
        """
        Return what stores many records, each parameter a list with a value for each of them; they
        have no columns but those *given*.
        """
        lists = ", ".join(f"CAST(:{c} AS {self._type(c)}[])" for c in given)
        values = [f"n.{column}" for column in given] + [self.ends(), "n.status", "n.date_done"]
        source = f" FROM unnest({lists}) AS n({', '.join(given)})"
        return self._insert((*given, *_SEALS), values, source, f"n.{self.key}", unless)

    def _sent_batch(self, unless: Unless, given: tuple[str, ...]) -> Statement:
        """
        Return how libpq is told to.
        """
        return Statement(self.store_batch(unless, given).text, {self.key: "text"})

    def _insert(
        self, columns: Sequence[str], values: Sequence[str], source: str, key: str, unless: Unless
    ) -> sa.TextClause:
        # What is not given is replaced by nothing.
        changes = ", ".join(f"{c} = excluded.{c}" for c in self._written() if c != self.key)
        # A number is taken only for a new row: Celery's column has no more than 31 bits.
        number = (
            f"COALESCE((SELECT o.id FROM {self.name} AS o WHERE o.{self.key} = {key}), "
            f"nextval('{self._sequence}'))"
        )
        own = "" if self.grouped else " OR r.write_id = excluded.write_id"
        return sa.text(
            f"INSERT INTO {self.name} AS r (id, {', '.join(columns)}) "
            f"SELECT {number}, {', '.join(values)}{source} "
            f"ON CONFLICT ({self.key}) DO UPDATE SET {changes} "
            f"WHERE {self.may_replace(unless)}{own} {self._rung()}"
        )

    def _rung(self) -> str:
        return f"RETURNING r.{self.key}" + (
            f", pg_notify('{self._channel}', r.{self.key})" if self._channel else ""
        )

    def store_over(self) -> sa.TextClause:
        return sa.text(f"{super().store_over().text} {self._rung()}")

    def purge(self) -> sa.TextClause:
        return sa.text(
            f"WITH gone AS MATERIALIZED (SELECT r.id FROM {self.name} AS r WHERE {self.expired} "
            f"ORDER BY r.expires_at LIMIT {CHUNK} FOR UPDATE SKIP LOCKED) "
            f"DELETE FROM {self.name} AS r USING gone WHERE r.id = gone.id"
        )


class SQLite(Table):
    """
    Times are text, of the clock of this machine, which is the database's.
    """

    same = "IS"
    now = ":now"

    def __init__(
        self, name: str, key: str, *, zone: Any = UTC, present: Collection[str] | None = None
    ) -> None:
        super().__init__(name, key, present=present)
        self._zone = zone

    def ends(self) -> str:
        return ":until"

    def moment(self) -> dict[str, Any]:
        return {"now": _text(_now())}

    def parameters(self, values: dict[str, Any], expires: float | None) -> dict[str, Any]:
        seconds, now = until(expires), _now()
        given = dict.fromkeys(self._columns()) | {
            name: _text(value) if isinstance(value, datetime) else value
            for name, value in values.items()
        }
        done = values.get("date_done")
        given["date_done"] = None if done is None else _text(done.astimezone(self._zone))
        given["until"] = None if seconds is None else _text(now + timedelta(seconds=seconds))
        return {**given, "now": _text(now)}

    def _store(self, unless: Unless) -> sa.TextClause:
        written = self._written()
        changes = ", ".join(f"{c} = excluded.{c}" for c in written if c != self.key)
        own = "" if self.grouped else " OR r.write_id = excluded.write_id"
        return sa.text(
            f"INSERT INTO {self.name} AS r ({', '.join(written)}) "
            f"VALUES ({', '.join(self._values())}) "
            f"ON CONFLICT ({self.key}) DO UPDATE SET {changes} "
            f"WHERE {self.may_replace(unless)}{own}"
        )

    def purge(self) -> sa.TextClause:
        return sa.text(
            f"DELETE FROM {self.name} WHERE id IN (SELECT r.id FROM {self.name} AS r "
            f"WHERE {self.expired} LIMIT {CHUNK})"
        )


def _now() -> datetime:
    return datetime.fromtimestamp(wall(), UTC)


def _text(value: datetime) -> str:
    return value.replace(tzinfo=None).isoformat(" ", "microseconds")


class MySQL(Table):
    """
    MariaDB and MySQL. Assignments take place one after the other and see those before them, so the
    first one decides, and the others ask whether it took place.
    """

    same = "<=>"
    now = "UTC_TIMESTAMP(6)"

    def __init__(
        self, name: str, key: str, *, zone: Any = UTC, mariadb: bool = True,
        sequence: str | None = None, present: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, key, present=present)
        self._zone = zone
        self._sequence = sequence
        self.returning = mariadb

    def ends(self) -> str:
        return f"{self.now} + INTERVAL :microseconds MICROSECOND"

    def parameters(self, values: dict[str, Any], expires: float | None) -> dict[str, Any]:
        seconds = until(expires)
        given = dict.fromkeys(self._columns()) | {
            name: value.replace(tzinfo=None) if isinstance(value, datetime) else value
            for name, value in values.items()
        }
        done = values.get("date_done")
        if done is not None:
            given["date_done"] = done.astimezone(self._zone).replace(tzinfo=None)
        given["microseconds"] = None if seconds is None else round(seconds * 1_000_000)
        return given

    def _store(self, unless: Unless) -> sa.TextClause:
        written = self._written()
        columns, values = ", ".join(written), ", ".join(self._values())
        if self._sequence is not None:
            columns, values = f"id, {columns}", f"{self._number()}, {values}"
        insert = f"INSERT INTO {self.name} ({columns}) VALUES ({values}) ON DUPLICATE KEY UPDATE "
        if self.grouped:
            changes = ", ".join(f"{c} = VALUES({c})" for c in written if c != self.key)
            return sa.text(insert + changes)
        may = self.may_replace(unless).replace("r.", "")
        first = f"write_id = IF({may}, VALUES(write_id), write_id), "
        rest = ", ".join(
            f"{c} = IF(write_id = VALUES(write_id), VALUES({c}), {c})"
            for c in written
            if c not in (self.key, "write_id")
        )
        answer = f" RETURNING {self.key}, write_id" if self.returning else ""
        return sa.text(insert + first + rest + answer)

    def _number(self) -> str:
        # A number is taken only for a new row. Of the table that is written MariaDB reads only what
        # is put into a table of its own first.
        there = f"SELECT o.id FROM {self.name} AS o WHERE o.{self.key} = :{self.key}"
        return f"COALESCE((SELECT d.id FROM ({there}) AS d), NEXTVAL({self._sequence}))"

    def _deleted(self) -> str:
        return f"r USING {self.name} AS r"

    def purge(self) -> sa.TextClause:
        expired = self.expired.replace("r.", "")
        return sa.text(f"DELETE FROM {self.name} WHERE {expired} ORDER BY expires_at LIMIT {CHUNK}")

    def store_over(self) -> sa.TextClause:
        statement = super().store_over().text
        return sa.text(
            statement.replace(f"UPDATE {self.name} AS r SET", f"UPDATE {self.name} r SET")
        )
