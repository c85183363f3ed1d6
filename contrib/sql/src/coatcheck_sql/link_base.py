"""
The base of the synchronous link and the one for asyncio.
"""

from __future__ import annotations

import logging
from typing import Any, Final, TypeGuard, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from coatcheck.errors import BackendError
from coatcheck.plugin import Attempts, Repeats, monotonic

from .errors import Errors, cause_of, is_garbled, is_lost, is_schema_gone, is_transient, mapped
from .limits import Limits, limited
from .operations import Ask, Operation, run
from .schema import Layout, Schema
from .settings import Settings
from .work import Make

_logger = logging.getLogger("coatcheck")

T = TypeVar("T")

#: Every write with this number removes a portion of the expired records.
SWEEP_EVERY: Final = 1000
#: A sweep needs at least this part of an operation's time.
_LEAST_PART: Final = 0.25
#: How long tables without our columns count as unchanged, in seconds.
_STALE: Final = 2.0


class Known:
    """
    The facts that a link learned about its database. A link holds this object, and its `Repeats` does: if
    that held the link, only the garbage collector could close a link that was dropped.
    """

    def __init__(self, settings: Settings, schema: Schema) -> None:
        self._settings = settings
        self._schema = schema
        self._looked = 0.0
        #: When a connection was found broken. Older connections are replaced.
        self.lost = 0.0
        self.forget()

    def forget(self) -> None:
        """Have the tables looked up again."""
        self.layout: Layout | None = None
        self._writable = False

    def tables(self, *, writing: bool) -> Layout | None:
        """Return the tables, or `None` if they must be looked up."""
        layout = self.layout
        if layout is None or (writing and not self._writable):
            return None
        fresh = layout.complete or monotonic() - self._looked < _STALE
        # A missing table may be created at any moment.
        return layout if fresh and layout.tasks and layout.groups else None

    def look(self, connection: sa.Connection, *, writing: bool) -> Layout:
        """Look the tables up. Before a write, create or complete them."""
        layout = self._schema.prepare(connection) if writing else self._schema.look(connection)
        self.layout, self._looked = layout, monotonic()
        self._writable = self._writable or writing
        if layout.advice:
            _logger.warning("%s: %s", self._settings.label, layout.advice)
        return layout

    def may_repeat(self, error: Exception) -> bool:
        """Learn from the *error* of a try, and return whether another one may succeed."""
        if is_lost(error):
            self.lost = monotonic()
        gone = is_schema_gone(error)
        if gone:
            self.forget()
        return gone or is_garbled(error) or is_transient(error)

    def mapped(self, error: Exception, *, writing: bool) -> BackendError:
        """Return our error for the driver's."""
        ours = mapped(error, self._settings.label, writing=writing)
        ours.__cause__ = cause_of(error)
        return ours


class LinkBase:
    """State and decisions of both links. No I/O."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.channel = f"coatcheck_{settings.tasks[:50]}" if settings.listen is not None else None
        self.known = Known(settings, Schema(settings, channel=self.channel))
        self.repeats = Repeats[Exception](
            settings.operation_timeout,
            errors=Errors,
            is_transient=self.known.may_repeat,
            mapped=self.known.mapped,
        )
        #: The error that makes waits poll now.
        self.polling: Exception | None = None
        self._writes = 0
        self.limits = Limits.of(settings.operation_timeout)
        #: Whether the driver runs an `Ask` itself; see `wire` and `bounded_sqlite`.
        self.quick = settings.url.get_driver_name() in ("psycopg", "pysqlite")

    def made(self, make: Make[T], *, writing: bool) -> Operation[T] | None:
        """Return the operation, or `None` if the tables must be looked up first."""
        layout = self.known.tables(writing=writing)
        return make(layout) if layout else None

    def is_direct(self, operation: Operation[T] | None) -> TypeGuard[Ask[T]]:
        """Return whether *operation* is one statement that the driver runs itself."""
        return self.quick and isinstance(operation, Ask) and not operation.statement.lists

    @property
    def told(self) -> bool:
        """
        Whether writers notify. Where our columns are missing, only Celery writes, and does not.
        """
        layout = self.known.layout
        return layout is None or layout.tasks is None or layout.complete

    def deadline(self, attempts: Attempts) -> float:
        """Return the end of a try, which leaves time for giving up in good order."""
        return monotonic() + attempts.left - self.limits.giving_up

    def perform(self, operation: Operation[T], connection: sa.Connection) -> T:
        """Run *operation* within the server's limits."""
        with limited(connection):
            return run(connection, operation)

    def part_to_sweep(self, began: float) -> float | None:
        """
        Count a write that *began* at that time. Return the part of an operation's time that each
        table's sweep may take, or `None` if no sweep is due or too little time is left.
        """
        self._writes += 1
        if self._writes % SWEEP_EVERY:
            return None
        part = (1 - (monotonic() - began) / self.settings.operation_timeout) / 2
        return part if part > _LEAST_PART else None

    def _translated(self, engine: sa.Engine, lent: Any, error: Exception) -> exc.DBAPIError:
        """
        Return a driver's error as SQLAlchemy raises it. If the connection was lost, tell the pool,
        because its idle connections are broken as well.
        """
        lost = engine.dialect.is_disconnect(error, lent, None)  # type: ignore[arg-type]
        if lost:
            engine.pool._invalidate(lent, error)  # noqa: SLF001 - as SQLAlchemy does
        return exc.DBAPIError(None, None, error, True, lost)  # noqa: FBT003
