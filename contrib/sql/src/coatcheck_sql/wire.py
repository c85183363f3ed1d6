"""
Statements, and how libpq sends them: with values in the binary form of PostgreSQL's types. No I/O.

SQLAlchemy and psycopg need more time for a statement than the server does, so stores and reads of tasks go
directly to libpq, through psycopg's `PGconn`. On CPython 3.11 that is 2.4 times as fast for a store, 2.7 for a
fetch and 1.5 for batches, and under asyncio 2.9, 3.1 and 1.5 (the medians that `python
tests/bench/fast_sql.py` prints).
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

#: A connection prepares a statement that it has sent this number of times.
_OFTEN: Final = 5
#: How many statements a connection prepares at most.
_MOST: Final = 100
_BINARY: Final = 1
#: libpq's PGRES_PIPELINE_SYNC, which is `ExecStatus.PIPELINE_SYNC` in psycopg, if that is installed.
_SYNC: Final = 10
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: A value in a statement, and the type that it is cast to.
_MARK: Final = re.compile(r":(\w+)( AS (\w+(?:\[\])?))?")

#: Returns the bytes of a value; text is encoded.
Dump = Callable[[Any, str], bytes]

_header: Final = struct.Struct(">iiiii").pack
_integer: Final = struct.Struct(">i").pack
_double: Final = struct.Struct(">d").pack
_long: Final = struct.Struct(">q").pack
_NULL: Final = _integer(-1)
_number: Final = struct.Struct(">q").unpack


class Statement:
    """
    One statement, as SQLAlchemy, sqlite3 and libpq take it.

    Args:
        text: with `:name` for each value. Values that are not text are cast to a type of the server's.
        types: of the columns of its answer, by their names.
        lists: the values that are lists, if a list is not one value for the driver.
    """

    def __init__(
        self,
        text: str,
        types: Mapping[str, str] = MappingProxyType({}),
        *,
        lists: Collection[str] = (),
    ) -> None:
        given: dict[str, str] = {}

        def number(found: re.Match[str]) -> str:
            name, cast, kind = found.groups(default="")
            given[name] = kind or given.get(name, "text")
            return f"${list(given).index(name) + 1}{cast}"

        self.text = text
        #: For libpq, where values have numbers.
        self.sent = _MARK.sub(number, text).encode()
        self.lists = lists
        self.formats = [_BINARY] * len(given)
        self._given = [(name, _DUMPS[kind]) for name, kind in given.items()]
        self._columns = [(n, name, _LOADS.get(types[name])) for n, name in enumerate(types)]

    @cached_property
    def clause(self) -> sa.TextClause | sa.TextualSelect:
        """For SQLAlchemy."""
        clause = sa.text(self.text)
        if self.lists:
            clause = clause.bindparams(*(sa.bindparam(n, expanding=True) for n in self.lists))
        names = [name for _, name, _ in self._columns]
        # Named, so that they are not looked up for each result.
        return clause.columns(*map(sa.column, names)) if names else clause

    def values(self, given: Mapping[str, Any], encoding: str) -> list[bytes | None]:
        """Return the *given* values in the server's form. Values of `None` may be missing."""
        values: list[bytes | None] = []
        for name, dump in self._given:
            value = given.get(name)
            values.append(value if value is None or dump is None else dump(value, encoding))
        return values

    def rows(self, result: PGresult, encoding: str) -> list[dict[str, Any]]:
        """
        Return the rows of the answer *result*, without fields that are `NULL`; empty ones for rows that a write
        changed.
        """
        columns, value = self._columns, result.get_value
        if not columns:
            return [{}] * (result.command_tuples or 0)
        rows = []
        for row in range(result.ntuples):
            fields: dict[str, Any] = {}
            for number, name, load in columns:
                data = value(row, number)
                if data is not None:
                    fields[name] = data if load is None else load(data, encoding)
            rows.append(fields)
        return rows


def _array(oid: int, dump: Dump | None) -> Dump:
    """Return the function that makes arrays of the type *oid*."""

    def array(values: Sequence[Any], encoding: str) -> bytes:
        parts = [_header(1, None in values, oid, len(values), 1)]
        for value in values:
            if value is None:
                parts.append(_NULL)
            else:
                data = value if dump is None else dump(value, encoding)
                parts += (_integer(len(data)), data)
        return b"".join(parts)

    return array


#: For each type the function that makes a value's binary form, or `None` if the value has that form.
_ONES: Final[Mapping[str, Dump | None]] = {
    "text": str.encode,
    "bytea": None,
    "integer": lambda value, _: _integer(value),
    "bigint": lambda value, _: _long(value),
    "double": lambda value, _: _double(value),
    "timestamptz": lambda value, _: _long((value - _EPOCH) // _MICROSECOND),
}
_OIDS: Final = {"text": 25, "bytea": 17, "integer": 23, "timestamptz": 1184}
_DUMPS: Final[Mapping[str, Dump | None]] = {
    **_ONES, **{f"{kind}[]": _array(oid, _ONES[kind]) for kind, oid in _OIDS.items()}
}  # fmt: skip


def _date(data: bytes, _: str) -> datetime | None:
    # Python does not have all dates: infinity, for one.
    try:
        return _EPOCH + timedelta(microseconds=_number(data)[0])
    except OverflowError:
        return None


#: For each type the function that reads its binary form; values of other types stay bytes.
_LOADS: Final[Mapping[str, Callable[[bytes, str], Any]]] = {
    # Wrong bytes become surrogates.
    "text": lambda data, encoding: str(data, encoding, "surrogateescape"),
    "integer": lambda data, _: int.from_bytes(data, "big", signed=True),
    "timestamptz": _date,
    "boolean": lambda data, _: data != b"\0",
}


class Wire:
    """Sends the statements of one connection, and prepares the frequent ones."""

    def __init__(self, pgconn: PGconn, encoding: str, *, prepare: bool) -> None:
        self._pgconn = pgconn
        #: A statement, with its values, that is sent before each other one in the same transaction.
        self.before: tuple[Statement, Mapping[str, Any]] | None = None
        #: Python's name of the encoding of text.
        self.encoding = encoding
        self._prepare = prepare
        #: By the statement's text.
        self._sent: dict[bytes, int] = {}
        self._prepared: dict[bytes, bytes] = {}
        self._numbers = itertools.count()
        self._name = b""

    def is_due(self, statement: Statement) -> bool:
        """Count a use of *statement*. Return whether it should be prepared now."""
        text = statement.sent
        if text in self._prepared or not self._prepare:
            return False
        self._sent[text] = times = self._sent.get(text, 0) + 1
        return times > _OFTEN and len(self._prepared) < _MOST

    def prepare(self, statement: Statement) -> None:
        """Send *statement* to be prepared. Once that is answered, call `prepared`."""
        # A new name each time: a caller that was cancelled does not see that it was prepared.
        self._name = b"coatcheck_%d" % next(self._numbers)
        self._begin()
        self._pgconn.send_prepare(self._name, statement.sent)
        self._end()

    def prepared(self, statement: Statement) -> None:
        """Note that *statement* is prepared."""
        self._prepared[statement.sent] = self._name
        del self._sent[statement.sent]

    def send(self, statement: Statement, given: Mapping[str, Any]) -> None:
        """Send *statement* with the values *given*."""
        values = statement.values(given, self.encoding)
        name = self._prepared.get(statement.sent)
        if self.before is not None:
            self._begin()
        if name is not None:
            self._pgconn.send_query_prepared(name, values, statement.formats, _BINARY)
        else:
            self._pgconn.send_query_params(statement.sent, values, None, statement.formats, _BINARY)
        if self.before is not None:
            self._end()

    def _begin(self) -> None:
        # In a pipeline all up to the end is one transaction, and one round trip.
        if self.before is not None:
            statement, given = self.before
            self._pgconn.enter_pipeline_mode()
            values = statement.values(given, self.encoding)
            self._pgconn.send_query_params(statement.sent, values, None, statement.formats, _BINARY)

    def _end(self) -> None:
        if self.before is not None:
            self._pgconn.pipeline_sync()

    def is_over(self, results: list[PGresult]) -> bool:
        """Add the answers that have arrived to *results*. Return whether these are all."""
        pgconn = self._pgconn
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                if self.before is None:
                    return True
            elif result.status == _SYNC:
                pgconn.exit_pipeline_mode()
                return True
            else:
                results.append(result)
        return False
