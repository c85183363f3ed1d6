"""
Tables and columns, as they should be and as they were found. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

#: Kind of each column: Celery's first, in its order.
TASKS: Final[Mapping[str, str]] = {
    "id": "id", "task_id": "key", "status": "status", "result": "blob", "date_done": "local",
    "traceback": "text", "children": "blob", "name": "name", "args": "blob", "kwargs": "blob",
    "worker": "name", "retries": "integer", "queue": "name", "stamps": "blob",
    "full_id": "blob", "parent_id": "text", "group_id": "text", "write_id": "word",
    "failure": "blob", "date_started": "date", "heartbeat": "blob", "attempt": "integer",
    "v": "integer", "serializer": "name", "more": "blob", "done_at": "date", "expires_at": "date",
    "seal_status": "status", "seal_date": "local",
}  # fmt: skip
GROUPS: Final[Mapping[str, str]] = {
    "id": "id", "taskset_id": "key", "result": "blob", "date_done": "local",
    "full_id": "blob", "serializer": "name", "expires_at": "date", "seal_date": "local",
}  # fmt: skip
#: Which kinds, and which of the databases' own types, hold the same.
FAMILIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("text", "name", "word", "status", "key"), "text"),
    **dict.fromkeys(("id", "integer"), "integer"), **dict.fromkeys(("date", "local"), "date"),
    "blob": "blob",
}  # fmt: skip
_TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("bytea", "blob", "mediumblob", "longblob", "varbinary"), "blob"),
    **dict.fromkeys(("text", "varchar", "char", "bpchar", "mediumtext", "longtext"), "text"),
    **dict.fromkeys(("int2", "int4", "int8", "int", "integer", "bigint", "smallint"), "integer"),
    **dict.fromkeys(("timestamp", "timestamptz", "datetime"), "date"),
}


class Column(NamedTuple):
    """A column as it is."""

    #: blob, text, integer or date; for other types the database's name.
    family: str
    unique: bool = False
    collation: str | None = None
    #: In bytes or characters.
    length: int | None = None
    #: Digits of a second's fraction.
    precision: int | None = None
    #: Whether it belongs to a table and not to a view.
    stored: bool = True
    #: Whether the database numbers the rows by it.
    numbered: bool = False


#: By name; empty where there is no table.
Columns = Mapping[str, Column]
#: Name and schema of a table.
TableName = tuple[str, str | None]


class Found(NamedTuple):
    """One table as it is, and the columns that it should have."""

    name: TableName
    columns: Columns
    kinds: Mapping[str, str]

    @property
    def shown(self) -> str:
        """The name for messages."""
        return self.name[0]

    @property
    def key(self) -> str:
        return "task_id" if "task_id" in self.kinds else "taskset_id"

    @property
    def missing(self) -> list[str]:
        return [name for name in self.kinds if name not in self.columns]

    @property
    def sequence(self) -> TableName:
        # By Celery's names, which do not depend on those of the tables.
        return f"{self.key.removesuffix('_id')}_id_sequence", self.name[1]

    @property
    def option(self) -> str:
        return "task_table=" if self.key == "task_id" else "group_table="


def family_of(kind: str) -> str:
    """Return the family of a type, by the database's name for it."""
    name = kind.partition("(")[0].strip().lower()
    return _TYPES.get(name, name)


def collected(rows: Iterable[Sequence[Any]], number: int) -> list[Columns]:
    """Return the columns of this *number* of tables. Each of *rows* describes one column."""
    found: list[dict[str, Column]] = [{} for _ in range(number)]
    for table, name, kind, unique, collation, length, precision, stored, numbered in rows:
        found[table][name] = Column(
            family_of(kind),
            bool(unique),
            collation,
            length,
            precision,
            bool(stored),
            bool(numbered),
        )
    return list(found)
