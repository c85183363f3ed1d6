"""
Which columns tables have: one question to the database, asked by each process before its first read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

_FAMILIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("bytea", "blob", "mediumblob", "longblob", "varbinary"), "blob"),
    **dict.fromkeys(("text", "varchar", "char", "bpchar", "mediumtext", "longtext"), "text"),
    **dict.fromkeys(("int2", "int4", "int8", "int", "integer", "bigint", "smallint"), "integer"),
    **dict.fromkeys(("timestamp", "timestamptz", "datetime"), "date"),
}

_POSTGRESQL: Final = """
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
_MYSQL: Final = """
SELECT CASE WHEN c.table_name = :n0 AND c.table_schema = COALESCE(:s0, DATABASE()) THEN 0
    WHEN c.table_name = :n1 AND c.table_schema = COALESCE(:s1, DATABASE()) THEN 1 ELSE 2 END,
    c.column_name, c.data_type, c.column_key IN ('UNI', 'PRI'),
    c.collation_name, c.character_maximum_length, c.datetime_precision, c.privileges <> '',
    c.extra LIKE '%auto_increment%'
FROM information_schema.columns c
WHERE c.table_name IN (:n0, :n1, :n2) AND c.table_schema IN
    (COALESCE(:s0, DATABASE()), COALESCE(:s1, DATABASE()), COALESCE(:s2, DATABASE()))
"""


class Column(NamedTuple):
    """
    A column as it is.
    """

    #: blob, text, integer or date; what the database calls it where it is none of these.
    family: str
    unique: bool = False
    collation: str | None = None
    #: In bytes or characters.
    length: int | None = None
    #: Digits of a second's fraction.
    precision: int | None = None
    #: Whether it is of a table, and not of a view.
    stored: bool = True
    #: Whether the database itself gives it a number that is new.
    numbered: bool = False


#: By name; empty where there is no table.
Columns = Mapping[str, Column]
#: Name and schema of a table.
Place = tuple[str, str | None]


def quoted(dialect: str, place: Place) -> str:
    """
    Return a table's name as it stands in statements. Names are identifiers that were checked;
    quoted, because one may be a word of SQL.
    """
    mark = "`" if dialect == "mysql" else '"'
    name, schema = place
    return ".".join(f"{mark}{part}{mark}" for part in (schema, name) if part)


def columns(connection: sa.Connection, dialect: str, places: Sequence[Place]) -> list[Columns]:
    """
    Return the columns of three tables.
    """
    if dialect == "sqlite":
        return [_of_sqlite(connection, place) for place in places]
    if dialect == "mysql":
        names = {f"n{n}": name for n, (name, _) in enumerate(places)}
        given = names | {f"s{n}": schema for n, (_, schema) in enumerate(places)}
    else:
        given = {f"t{n}": quoted(dialect, place) for n, place in enumerate(places)}
    query = sa.text(_MYSQL if dialect == "mysql" else _POSTGRESQL)
    found: list[dict[str, Column]] = [{} for _ in places]
    for number, name, kind, *rest in connection.execute(query, given):
        unique, collation, length, precision, stored, numbered = rest
        found[number][name] = Column(
            _family(kind), bool(unique), collation, length, precision, bool(stored), bool(numbered)
        )
    return list(found)


def _of_sqlite(connection: sa.Connection, place: Place) -> Columns:
    def ask(pragma: str, name: str) -> list[Any]:
        prefix = f'"{place[1]}".' if place[1] else ""
        return list(connection.exec_driver_sql(f'PRAGMA {prefix}{pragma}("{name}")'))

    # What another process made is not seen by a pragma before a statement has noticed it.
    connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1")
    # The columns first: a table that is made between the two has its indexes by then.
    columns = ask("table_info", place[0])
    unique = set()
    for _, index, is_unique, _, partial in ask("index_list", place[0]):
        members = ask("index_info", index)
        if is_unique and not partial and len(members) == 1:
            unique.add(members[0][2])
    return {row[1]: Column(_family(row[2]), row[1] in unique) for row in columns}


def _family(kind: str) -> str:
    name = kind.partition("(")[0].strip().lower()
    return _FAMILIES.get(name, name)


def indexes(connection: sa.Connection, dialect: str, place: Place) -> set[str]:
    """
    Return the names of a table's indexes.
    """
    if dialect == "sqlite":
        rows = connection.exec_driver_sql(f'PRAGMA index_list("{place[0]}")')
        return {row[1] for row in rows}
    if dialect == "mysql":
        query = (
            "SELECT index_name FROM information_schema.statistics WHERE table_name = :name "
            "AND table_schema = COALESCE(:schema, DATABASE())"
        )
        given: dict[str, Any] = {"name": place[0], "schema": place[1]}
    else:
        query = (
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE i.indrelid = to_regclass(:name)"
        )
        given = {"name": quoted(dialect, place)}
    return {row[0] for row in connection.execute(sa.text(query), given)}
