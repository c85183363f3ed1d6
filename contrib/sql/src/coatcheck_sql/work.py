"""
What is done with a connection and the tables: the same for both colours, since the drivers for
asyncio are used by way of SQLAlchemy's synchronous connections.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

import sqlalchemy as sa

from coatcheck.plugin import PENDING, Codec, ResultMeta, Unless, wall

from . import records
from .records import COLUMNS, Record
from .schema import Layout
from .settings import Settings
from .statements import PostgreSQL, Table, until
from .wire import Statement

T = TypeVar("T")
#: How many records one statement or transaction stores. On MariaDB and MySQL each is a round trip.
PORTIONS: Final[Mapping[str, int]] = {"postgresql": 500, "mysql": 250, "sqlite": 500}


class Encoder:
    """
    Makes rows of metas, once: a repeated write sends the same.
    """

    def __init__(self, codec: Codec, limit: int | None, metas: Sequence[ResultMeta]) -> None:
        self._codec = codec
        self._limit = limit
        self._metas = metas
        self._made: list[Record] | None = None

    def __call__(self, layout: Layout) -> list[Record]:
        """
        Return the records. Raises `EncodeError` and `ResultTooLargeError`.
        """
        if self._made is None:
            limits = [n for n in (self._limit, layout.limit) if n is not None]
            limit = min(limits, default=None)
            self._made = [
                records.encoded(meta, self._codec, limit, layout.letters) for meta in self._metas
            ]
        return self._made


def _tasks(layout: Layout) -> Table:
    assert layout.tasks is not None  # noqa: S101 - a write has made it
    return layout.tasks


def store(
    connection: sa.Connection, layout: Layout, *, encode: Encoder, unless: Unless,
    expires: float | None,
) -> bool:  # fmt: skip
    """
    Store one record; whether it is the record now.
    """
    (record,) = encode(layout)
    return store_record(connection, layout, record=record, unless=unless, expires=expires)


def store_record(
    connection: sa.Connection, layout: Layout, *, record: Record, unless: Unless,
    expires: float | None,
) -> bool:  # fmt: skip
    """
    Store one record that is encoded.
    """
    table = _tasks(layout)
    if table.returning:
        return _store(connection, table, record, unless, expires)
    with _Transaction(connection):
        return _store(connection, table, record, unless, expires)


def _store(
    connection: sa.Connection, table: Table, record: Record, unless: Unless, expires: float | None
) -> bool:
    given = {**table.parameters(record.values, expires), **table.states(unless)}
    result = connection.execute(table.store(unless), given)
    if isinstance(table, PostgreSQL):
        return result.first() is not None
    if table.same == "IS":  # SQLite
        return result.rowcount > 0
    if not table.returning:
        # Within the transaction nobody else can have written since.
        result = connection.execute(table.statement("own"), {"keys": [record.key]})
    row = result.first()
    return row is not None and bool(row[1] == record.write_id)


def store_over(
    connection: sa.Connection, layout: Layout, *, encode: Encoder, version: Any,
    expires: float | None,
) -> bool:  # fmt: skip
    """
    Store one record over exactly the one of *version*.
    """
    (record,) = encode(layout)
    table = _tasks(layout)
    given = table.parameters(record.values, expires)
    given |= {f"match_{name}": value for name, value in version.items()}
    result = connection.execute(table.statement("store_over"), given)
    return result.first() is not None if isinstance(table, PostgreSQL) else result.rowcount > 0


def store_many(
    connection: sa.Connection, layout: Layout, *, records: Sequence[Record], unless: Unless,
    expires: float | None,
) -> set[str | None]:  # fmt: skip
    """
    Store records of different ids; return the `write_id`s of those that are the record now.
    """
    table = _tasks(layout)
    if isinstance(table, PostgreSQL):
        columns, given = _together(records)
        given |= {"expires": until(expires), **table.states(unless)}
        won = {row[0] for row in connection.execute(table.store_batch(unless, columns), given)}
        return _won(records, won)
    with _Transaction(connection, immediate=table.same == "IS"):
        return {
            record.write_id
            for record in records
            if _store(connection, table, record, unless, expires)
        }


def _together(records: Sequence[Record]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """
    Return the columns that *records* have, and a list of values for each.
    """
    names = set().union(*(record.values for record in records))
    columns = tuple(name for name in COLUMNS if name in names)
    return columns, {n: [r.values.get(n) for r in records] for n in columns}


def _won(records: Sequence[Record], keys: Collection[str]) -> set[str | None]:
    return {record.write_id for record in records if record.key in keys}


def store_group(
    connection: sa.Connection, layout: Layout, *, values: dict[str, Any], expires: float | None
) -> None:
    """
    Store a group.
    """
    table = layout.groups
    assert table is not None  # noqa: S101 - a write has made it
    connection.execute(table.store(frozenset()), table.parameters(values, expires))


def read(
    connection: sa.Connection, layout: Layout, *, ids: Sequence[str], grouped: bool = False
) -> list[Mapping[str, Any]]:
    """
    Return the rows of *ids* that live, each with the id as it was asked for in "asked".
    """
    table = layout.groups if grouped else layout.tasks
    if table is None:
        return []
    asked = {records.key_of(id_, layout.letters): id_ for id_ in ids}
    statement, given = _reading(asked)
    result = connection.execute(table.statement(statement), {**given, **table.moment()})
    names = table.known()
    return _asked(table, asked, (dict(zip(names, row, strict=True)) for row in result))


def _reading(asked: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """
    Return how rows are read, and what is to be given for it. Of one row the server knows that it is
    one: it would read through a table that was small when it first made a plan for several.
    """
    if len(asked) == 1:
        return "read_one", {"key": next(iter(asked))}
    return "read", {"keys": list(asked)}


def _asked(
    table: Table, asked: Mapping[str, str], found: Iterable[dict[str, Any]]
) -> list[Mapping[str, Any]]:
    return [{**row, "asked": asked[row[table.key]]} for row in found if row[table.key] in asked]


# -- without SQLAlchemy and psycopg, which take longer over a statement than the database --------


class Ask(NamedTuple, Generic[T]):
    """
    One statement, its values, and what to make of the rows of the answer.
    """

    #: For sqlite3 its text.
    statement: Statement | str
    given: Mapping[str, Any]
    answer: Callable[[list[dict[str, Any]]], T]


def ask_to_store(
    layout: Layout, *, encode: Encoder, unless: Unless, expires: float | None
) -> Ask[bool]:
    """
    As `store`.
    """
    (record,) = encode(layout)
    table = _tasks(layout)
    if not isinstance(table, PostgreSQL):
        values = {**table.parameters(record.values, expires), **table.states(unless)}
        return Ask(table.store(unless).text, values, bool)
    statement = table.sent_store(unless, tuple(record.values))
    given = {**record.values, "expires": until(expires), **table.states(unless)}
    return Ask(statement, given, bool)


def ask_to_store_many(
    layout: Layout, *, records: Sequence[Record], unless: Unless, expires: float | None
) -> Ask[set[str | None]] | None:
    """
    As `store_many`.
    """
    table = layout.tasks
    if not isinstance(table, PostgreSQL):
        return None
    columns, given = _together(records)
    given |= {"expires": until(expires), **table.states(unless)}
    key = table.key
    return Ask(
        table.sent_batch(unless, columns),
        given,
        lambda rows: _won(records, {row[key] for row in rows}),
    )


def ask_to_read(layout: Layout, *, ids: Sequence[str]) -> Ask[list[Mapping[str, Any]]] | None:
    """
    As `read`, of tasks.
    """
    table = _tasks(layout)
    asked = {records.key_of(id_, layout.letters): id_ for id_ in ids}
    name, given = _reading(asked)
    if isinstance(table, PostgreSQL):
        return Ask(table.sent_read(name), given, partial(_asked, table, asked))
    if len(asked) > 1:
        return None
    text = table.statement(name).text
    return Ask(text, {**given, **table.moment()}, partial(_asked, table, asked))


def metas(
    rows: Iterable[Mapping[str, Any]], codec: Codec, settings: Settings
) -> Iterator[tuple[str, ResultMeta]]:
    """
    Iterate over ids and snapshots.
    """
    zone = None if settings.dialect == "postgresql" else settings.timezone
    return ((row["asked"], records.decoded(row, codec, zone)) for row in rows)


def delete(
    connection: sa.Connection, layout: Layout, *, ids: Sequence[str], grouped: bool = False
) -> int:
    """
    Delete, and return how many there were.
    """
    table = layout.groups if grouped else layout.tasks
    assert table is not None  # noqa: S101 - a write has made it
    # In one order, so that no two deletions wait for each other.
    keys = sorted({records.key_of(id_, layout.letters) for id_ in ids})
    return connection.execute(table.statement("delete"), {"keys": keys, **table.moment()}).rowcount


def purge(connection: sa.Connection, layout: Layout, *, grouped: bool) -> int:
    """
    Delete a portion of what has expired, and return how many those were.
    """
    table = layout.groups if grouped else layout.tasks
    assert table is not None  # noqa: S101 - a write has made it
    return connection.execute(table.statement("purge"), table.moment()).rowcount


def purge_others(
    connection: sa.Connection, layout: Layout, *, grouped: bool, age: float, settings: Settings
) -> int:
    """
    Delete a portion of what other programs wrote more than *age* seconds ago; return how many.
    """
    table = layout.groups if grouped else layout.tasks
    assert table is not None  # noqa: S101 - a write has made it
    before: Any = datetime.fromtimestamp(wall() - age, UTC)
    if settings.dialect != "postgresql":
        # Where dates have no zone Celery writes the application's, up to 5.4 UTC, as of groups still.
        # A row does not say which: none goes too early.
        zones = {UTC} if grouped else {UTC, settings.timezone}
        before = min(before.astimezone(zone).replace(tzinfo=None) for zone in zones)
    if settings.dialect == "sqlite":
        before = before.isoformat(" ", "microseconds")
    return connection.execute(table.statement("purge_others"), {"before": before}).rowcount


def page(
    connection: sa.Connection, layout: Layout, *, last: int, size: int, state: str | None = None
) -> tuple[list[str], int, bool]:
    """
    Return the ids of the records behind the row *last*, or of those in *state*; the last row, and
    whether there may be more.
    """
    table = layout.tasks
    if table is None:
        return [], last, False
    given = {"last": last, "size": size, **table.moment()}
    rows = [dict(row) for row in connection.execute(table.statement("page"), given).mappings()]
    chosen = (row for row in rows if row["alive"] and state in (None, row["status"] or PENDING))
    found = [id_ for row in chosen if (id_ := records.id_of(row, table.key)) is not None]
    return found, rows[-1]["number"] if rows else last, len(rows) == size


class _Transaction:
    """
    A transaction on a connection in autocommit; whoever gave it throws it away after an error.
    """

    def __init__(self, connection: sa.Connection, *, immediate: bool = False) -> None:
        self._connection = connection
        self._begin = "BEGIN IMMEDIATE" if immediate else "START TRANSACTION"

    def __enter__(self) -> None:
        self._connection.exec_driver_sql(self._begin)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._connection.exec_driver_sql("COMMIT")
