"""
How the databases differ, apart from their statements on records.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Final

import sqlalchemy as sa

from .catalog import Columns, Found, TableName
from .letters import EXACT, Letters
from .tables import Table

#: Held by who migrates: any number, the same for all.
LOCK: Final = 0x636F6174


class Dialect(ABC):
    """One kind of database."""

    #: As in SQLAlchemy's URLs.
    name: ClassVar[str]
    #: How many records one statement or transaction stores.
    portion: ClassVar[int]
    #: The largest record, in bytes.
    largest: ClassVar[int]
    #: The types of columns, by kind, see `catalog`.
    types: ClassVar[Mapping[str, str]]
    #: The quotation mark of names.
    mark: ClassVar[str] = '"'
    #: Whether dates come with their zone.
    has_zones: ClassVar[bool] = False
    #: Whether it is a file that each process opens by itself.
    is_file: ClassVar[bool] = False
    #: Whether several statements may be sent as one, in one round trip.
    joined: ClassVar[bool] = False
    #: Whether an index may leave rows out.
    partial_indexes: ClassVar[bool] = True
    #: The text behind the columns of a new table.
    table_options: ClassVar[str] = ""
    #: For SQLAlchemy's engine.
    engine_options: ClassVar[Mapping[str, Any]] = {}

    def quoted(self, name: TableName) -> str:
        """
        Return a table's name as it stands in statements. Names are identifiers that were checked;
        quoted, because one may be a word of SQL.
        """
        table, schema = name
        return ".".join(f"{self.mark}{part}{self.mark}" for part in (schema, table) if part)

    @abstractmethod
    def columns(self, connection: sa.Connection, names: Sequence[TableName]) -> list[Columns]:
        """Return the columns of three tables."""

    @abstractmethod
    def indexes(self, connection: sa.Connection, name: TableName) -> set[str]:
        """Return the names of a table's indexes."""

    @abstractmethod
    def table(self, connection: sa.Connection, found: Found, **options: Any) -> Table:
        """Return the table for *found*."""

    def is_sequenced(self, connection: sa.Connection) -> bool:
        """Whether rows are numbered by a sequence, as Celery makes it."""
        del connection
        return False

    def added_type(self, found: Found, name: str) -> str:
        """Return the type of the column *name* where it is added to a table that is there."""
        return self.types[found.kinds[name]]

    def capacity(self, connection: sa.Connection, *tables: Found) -> tuple[Letters, int | None]:
        """
        Return which letters the database knows and keeps apart, and how large a record may be.
        """
        del connection, tables
        return EXACT, None

    @abstractmethod
    def lock(self, connection: sa.Connection) -> AbstractContextManager[None]:
        """
        Hold off others who want to migrate; a transaction, where the database has one for this.
        """

    @contextmanager
    def transaction(self, connection: sa.Connection) -> Iterator[None]:
        """Commit the transaction after the block, or roll it back after an error."""
        try:
            yield
        except BaseException:
            if not connection.invalidated:
                connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")
