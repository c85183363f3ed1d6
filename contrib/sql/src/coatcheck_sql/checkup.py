"""
The faults of databases: tables of another version, missing indexes, poolers, limits of records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from coatcheck.errors import BackendGetMetaError
from coatcheck.plugin import Checkup, Finding, Level, Server, batches, directory_findings, monotonic

from .deadline import until
from .encryption import encryption_of
from .errors import Errors
from .letters import key_of
from .link import Link, Opener
from .operations import Ask, Row
from .schema import VERSION, VERSIONS, Layout
from .settings import Settings
from .wire import Statement

#: The smallest limit of records that is no fault, in bytes.
LEAST: Final = 1024 * 1024
#: The statements find rows by these columns.
_FOUND_BY: Final = ("expires_at", "date_done")
_PORTS: Final = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
#: The earliest versions with all statements. Every SQLite that Python has will do.
OLDEST: Final = {"PostgreSQL": (12, 0), "MariaDB": (10, 5), "MySQL": (5, 7, 20), "SQLite": (3,)}
_CLOCKS: Final = {
    "postgresql": "SELECT CAST(extract(epoch FROM clock_timestamp()) AS text) AS value",
    "mysql": "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) AS CHAR) AS value",
}
_NUMBERS: Final = {
    "postgresql": "SELECT current_setting('server_version') AS value",
    "mysql": "SELECT VERSION() AS value",
    "sqlite": "SELECT sqlite_version() AS value",
}
_NAMES: Final = {"postgresql": "PostgreSQL", "mysql": "MySQL", "sqlite": "SQLite"}
#: The first columns of a table's indexes.
_INDEXED: Final = {
    "postgresql": "SELECT a.attname AS value FROM pg_index i JOIN pg_attribute a "
    "ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
    "WHERE i.indrelid = to_regclass(:quoted) AND i.indisvalid",
    "mysql": "SELECT column_name AS value FROM information_schema.statistics WHERE seq_in_index = 1 "
    "AND table_name = :name AND table_schema = COALESCE(:schema, DATABASE())",
    "sqlite": "SELECT (SELECT i.name FROM pragma_index_info(l.name) AS i WHERE i.seqno = 0) AS value "
    "FROM pragma_index_list(:name) AS l",
}


class SQLCheckup(Checkup):
    """The checks of one database, and of its two tables."""

    def __init__(self, settings: Settings, link: Link) -> None:
        self._settings = settings
        self._link = link
        self._kind = "mysql" if settings.dialect.mark == "`" else settings.dialect.name

    def servers(self) -> Sequence[Server]:
        url = self._settings.url
        if self._settings.dialect.is_file:
            return []
        if "unix_socket" in url.query:
            return [Server(str(url.query["unix_socket"]), 0)]
        default = _PORTS[url.get_backend_name()]
        hosts = str(url.host or url.query.get("host", "localhost")).split(",")
        ports = str(url.port or url.query.get("port", default)).split(",")
        return [
            self._server(host, int(port or default))
            for host, port in zip(hosts, ports * len(hosts), strict=False)
        ]

    def _server(self, host: str, port: int) -> Server:
        if host.startswith("/"):
            return Server(f"{host}/.s.PGSQL.{port}", 0)
        return Server(host, port, encryption_of(self._settings.url, host))

    def version(self) -> str:
        number = self._values(_NUMBERS[self._kind])[0]
        return f"{'MariaDB' if 'MariaDB' in number else _NAMES[self._kind]} {number}"

    def clock(self) -> float | None:
        query = _CLOCKS.get(self._kind)
        return None if query is None else float(self._values(query)[0])

    def endless(self, task_ids: Sequence[str]) -> int | None:
        counts = [
            self._link.run(partial(_endless, batch), writing=False) for batch in batches(task_ids)
        ]
        return None if None in counts else sum(filter(None, counts))

    def findings(self) -> Iterator[Finding]:
        layout: Layout = self._link.run(_layout, writing=False)
        yield from self._version()
        yield from self._schema(layout)
        yield from self._indexes()
        if layout.limit is not None and layout.limit < LEAST:
            what = f"records over {layout.limit:,} bytes are refused"
            remedy = (
                "SET GLOBAL max_allowed_packet=67108864, and let the column result be a LONGBLOB"
            )
            yield Finding("record size", Level.WARNING, what, remedy)
        if self._settings.dialect.is_file:
            yield from directory_findings(Path(str(self._settings.url.database)).absolute().parent)
        elif self._kind == "postgresql":
            yield from self._pooler()

    def _version(self) -> Iterator[Finding]:
        name, _, number = self.version().partition(" ")
        numbers = re.match(r"[\d.]+", number)
        version = tuple(map(int, numbers[0].strip(".").split("."))) if numbers else ()
        if version < OLDEST[name]:
            remedy = f"upgrade to {'.'.join(map(str, OLDEST[name]))} or later"
            yield Finding("version", Level.BROKEN, f"the server is {name} {number}", remedy)

    def _schema(self, layout: Layout) -> Iterator[Finding]:
        versions = self._settings.dialect.quoted((VERSIONS, self._settings.task_schema))
        query = f"SELECT CAST(version AS CHAR(9)) AS value FROM {versions} WHERE name = :name"
        try:
            found = self._values(query, name=self._settings.tasks)
        except BackendGetMetaError:
            found = []
        if not found or not layout.complete:
            what = (
                "the tables lack columns of coatcheck: only values of Celery's own shape are kept"
            )
            remedy = "store a record as a user who may alter the tables, or set migrate=1"
            yield Finding("schema", Level.WARNING, what, remedy)
        elif int(found[0]) > VERSION:
            what = f"the tables have version {found[0].strip()}, and this coatcheck-sql knows {VERSION}"
            yield Finding("schema", Level.BROKEN, what, "upgrade coatcheck-sql")

    def _indexes(self) -> Iterator[Finding]:
        settings = self._settings
        for name, schema in (
            (settings.tasks, settings.task_schema),
            (settings.groups, settings.group_schema),
        ):
            quoted = settings.dialect.quoted((name, schema))
            indexed = self._values(_INDEXED[self._kind], name=name, schema=schema, quoted=quoted)
            concurrently = "CONCURRENTLY " if self._kind == "postgresql" else ""
            for column in _FOUND_BY:
                if column not in indexed:
                    what = f"the table {name} has no index on {column}: removing old rows is slow"
                    remedy = f"CREATE INDEX {concurrently}ix_{name}_{column} ON {quoted} ({column})"
                    yield Finding("index", Level.WARNING, what, remedy)

    def _pooler(self) -> Iterator[Finding]:
        settings = self._settings
        if not self._is_shared():
            return
        if settings.prepare:
            what = "a pooler lends sessions by transaction, and statements are prepared"
            yield Finding("pooler", Level.WARNING, what, "write pgbouncer=true into the URL")
        if settings.listen == settings.url:
            what = "a pooler lends sessions by transaction, and loses notifications"
            remedy = "give the server's own address by listen_url=, or switch it off by push=0"
            yield Finding("pooler", Level.WARNING, what, remedy)

    def _is_shared(self) -> bool:
        """Whether a connection changes its session while another one is in a transaction."""
        opener = Opener(self._settings, self._link.limits)

        def look() -> bool:
            lent = [opener.open()]
            try:
                lent.append(opener.open())
                one, other = (each.connection for each in lent)
                before = _session(one)
                other.exec_driver_sql("BEGIN")
                _session(other)
                return before != _session(one)
            finally:
                for each in lent:
                    opener.close(each)

        try:
            return until(monotonic() + self._settings.operation_timeout, look)
        except Errors as error:
            raise self._link.known.mapped(error, writing=False) from error

    def _values(self, query: str, **given: Any) -> list[str]:
        """Return the column `value`, which is text, of the answer to *query*."""
        ask: Ask[list[Row]] = Ask(Statement(query, {"value": "text"}), given, list)
        return [
            row["value"] for row in self._link.run(lambda _: ask, writing=False) if row.get("value")
        ]


def _session(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def _layout(layout: Layout) -> Ask[Layout]:
    return Ask(Statement("SELECT 1"), {}, lambda _: layout)


def _endless(task_ids: Sequence[str], layout: Layout) -> Ask[int | None]:
    """Return the operation that counts the rows of *task_ids* without expiry."""
    table = layout.tasks
    if table is None or not layout.complete:
        return Ask(Statement("SELECT 1"), {}, lambda _: None)
    query = f"SELECT 1 FROM {table.name} AS r WHERE {table.among()} AND (r.expires_at IS NULL OR {table.sealed} IS NOT TRUE)"
    keys = [key_of(task_id, layout.letters) for task_id in task_ids]
    return Ask(table.of_keys(query, {"found": "text"}), {"keys": keys}, len)
