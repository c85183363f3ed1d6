"""
The statements on the two tables. No I/O.

Values are parameters; only names of tables and columns stand in the text. The statement that writes a record
has the database decide whether the one that is there may be replaced. `postgresql`, `mysql` and `sqlite` add
the differences; `tables` makes operations of the statements.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, tzinfo
from functools import lru_cache
from typing import Any, ClassVar, Final

from coatcheck.plugin import ANY, Unless

from .records import COLUMNS
from .wire import Statement

#: How many expired rows one statement deletes.
CHUNK: Final = 1000
#: A state that may stand in a statement's text.
PLAIN: Final = re.compile("[A-Z_]+")
#: The columns that a write sets besides those of the record.
SEALS: Final = ("expires_at", "seal_status", "seal_date")
_GROUP_COLUMNS: Final = ("taskset_id", "full_id", "result", "date_done", "serializer")
#: The columns that a read of tasks returns.
_TASK_FIELDS: Final = (*COLUMNS, "stamps", "expires_at")


class Statements(ABC):
    """
    The statements on one of the two tables, in the SQL of one database.

    Args:
        name: the table's, quoted, with its schema.
        key: its column of ids.
        zone: the zone of Celery's dates, which do not name it.
        present: its columns, or `None` if it has all of ours.
    """

    #: Null-safe equality.
    same = "IS NOT DISTINCT FROM"
    #: The moment, in the type of `expires_at`.
    now = "statement_timestamp()"
    #: The types of columns, but for text.
    types: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, name: str, key: str, *, zone: tzinfo = UTC, present: Collection[str] | None = None
    ) -> None:
        self.name = name
        self.key = key
        self.zone = zone
        self.present = present
        self.grouped = key == "taskset_id"
        self.columns = _GROUP_COLUMNS if self.grouped else COLUMNS
        self.written = (
            *self.columns,
            *(s for s in SEALS if s != "seal_status" or not self.grouped),
        )
        #: Calls the method of that name; remembers the statement for each of its arguments.
        self.statement = lru_cache(maxsize=512)(self._statement)

    def _statement(self, name: str, *arguments: Any) -> Statement:
        made: Statement = getattr(self, name)(*arguments)
        return made

    # -- differences between the databases ------------------------------------------------

    def bind(self, column: str) -> str:
        """Return the parameter for a value of *column*."""
        return f":{column}"

    def field(self, column: str) -> str:
        """Return the expression that reads *column*."""
        return f"r.{column}"

    def matched(self, column: str) -> str:
        """Return the parameter for a value that was read from *column*."""
        return f":match_{column}"

    @abstractmethod
    def ends(self) -> str:
        """Return the end of a life of `:expires` seconds."""

    # -- conditions -----------------------------------------------------------------------

    @property
    def sealed(self) -> str:
        """The condition that our columns count, because nobody wrote over the row since."""
        status = "" if self.grouped else "r.seal_status = r.status AND "
        return f"({status}r.seal_date {self.same} r.date_done)"

    @property
    def expired(self) -> str:
        return f"(r.expires_at <= {self.now} AND {self.sealed})"

    @property
    def alive(self) -> str:
        return f"{self.expired} IS NOT TRUE" if self.expiring else "1 = 1"

    @property
    def expiring(self) -> bool:
        """Whether the table has the columns that tell the ends of records."""
        return self.present is None or {"expires_at", "seal_date"} <= set(self.present)

    def may_replace(self, unless: Unless) -> str:
        """
        Return the condition under which the existing row is replaced; the states are `:u0`, `:u1` and so on.
        """
        if unless is ANY:
            return f"({self.expired} IS TRUE)"
        if not unless:
            return "(1 = 1)"
        # Plain words stand in the text: the driver would convert parameters each time.
        marks = [
            f"'{state}'" if PLAIN.fullmatch(state) else f":u{number}"
            for number, state in enumerate(sorted(unless))
        ]
        return (
            f"(r.status IS NULL OR r.status NOT IN ({', '.join(marks)}) OR {self.expired} IS TRUE)"
        )

    # -- statements -----------------------------------------------------------------------

    def value(self, column: str) -> str:
        """Return the value that a write gives to *column*."""
        seals = {"seal_status": "status", "seal_date": "date_done"}
        return self.ends() if column == "expires_at" else self.bind(seals.get(column, column))

    def upsert(self, columns: Sequence[str], values: str, unless: Unless) -> str:
        """
        Return the upsert of *values* into *columns*, unless the existing row stays. The other columns become
        empty.
        """
        changes = ", ".join(f"{c} = excluded.{c}" for c in self.written if c != self.key)
        own = "" if self.grouped else " OR r.write_id = excluded.write_id"
        return (
            f"INSERT INTO {self.name} AS r ({', '.join(columns)}) {values} "
            f"ON CONFLICT ({self.key}) DO UPDATE SET {changes} "
            f"WHERE {self.may_replace(unless)}{own}"
        )

    def store_over(self) -> Statement:
        """Return the update that replaces exactly the record that was read."""
        changes = ", ".join(f"{c} = {self.value(c)}" for c in self.written if c != self.key)
        match = " AND ".join(
            f"{self.field(name)} {self.same} {self.matched(name)}"
            for name in ("write_id", "status", "date_done", "result")
        )
        return Statement(
            f"UPDATE {self.updated()} SET {changes} WHERE r.{self.key} = :{self.key} "
            f"AND (({match}) OR r.write_id = :write_id) AND {self.alive} {self.told()}"
        )

    def updated(self) -> str:
        """Return the table's name and alias for an update."""
        return f"{self.name} AS r"

    def deleted(self) -> str:
        """Return the table's name and alias for a deletion."""
        return f"{self.name} AS r"

    def told(self) -> str:
        """Return the clause that makes a write answer."""
        return ""

    def delete(self) -> Statement:
        """Return the deletion of the live rows of `:keys`."""
        return self.of_keys(f"DELETE FROM {self.deleted()} WHERE {self.among()} AND {self.alive}")

    @abstractmethod
    def purge(self) -> Statement:
        """Return the deletion of up to `CHUNK` expired rows, without those in use."""

    def purge_others(self) -> Statement:
        """Return the deletion of up to `CHUNK` rows that other programs wrote before `:before`."""
        older = f"r.date_done < {self.bind('before')} AND {self.sealed} IS NOT TRUE"
        # MariaDB cannot delete from a table that it selects from, except through a derived table.
        found = f"SELECT r.id FROM {self.name} AS r WHERE {older} LIMIT {CHUNK}"
        return Statement(f"DELETE FROM {self.name} WHERE id IN (SELECT d.id FROM ({found}) AS d)")

    def among(self) -> str:
        """Return the condition that a row's key is one of `:keys`."""
        return f"r.{self.key} IN :keys"

    def of_keys(self, text: str, types: Mapping[str, str] | None = None) -> Statement:
        """Return a statement with the parameter `:keys`."""
        return Statement(text, types or {}, lists=("keys",))

    def known(self) -> dict[str, str]:
        """Return the names that `read` reads, in its order, with their types."""
        names = self.columns if self.grouped else _TASK_FIELDS
        if self.present is None or "seal_date" in self.present:
            names = (*names, "sealed")
        there = (n for n in names if self.present is None or n == "sealed" or n in self.present)
        return {name: self.type_of(name) for name in there}

    def type_of(self, column: str) -> str:
        """Return the type of *column*, for libpq."""
        return self.types.get(column, "text")

    def read(self) -> Statement:
        """Return the query for the live rows of `:keys`."""
        return self.of_keys(self._select(self.among()), self.known())

    def read_one(self) -> Statement:
        """Return the query for the row of `:key`, if it lives."""
        return Statement(self._select(f"r.{self.key} = :key"), self.known())

    def _select(self, condition: str) -> str:
        own = {"sealed": self.sealed}
        fields = [f"{own.get(name) or self.field(name)} AS {name}" for name in self.known()]
        return (
            f"SELECT {', '.join(fields)} FROM {self.name} AS r WHERE {condition} AND {self.alive}"
        )

    def read_ends(self) -> Statement:
        """Return the query for the ends of the rows of `:keys`, which count if the row is sealed."""
        names = (self.key, "expires_at", "sealed")
        return self.of_keys(
            f"SELECT r.{self.key} AS {self.key}, r.expires_at, {self.sealed} AS sealed "
            f"FROM {self.name} AS r WHERE {self.among()}",
            {name: self.type_of(name) for name in names},
        )
