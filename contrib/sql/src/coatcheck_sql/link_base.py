"""
The base of the synchronous link and the one for asyncio.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeGuard, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from coatcheck.errors import BackendError
from coatcheck.plugin import (
    Attempts,
    monotonic,
    pass_on_interruption,
)

from .errors import cause_of, is_lost, is_schema_gone, is_transient, mapped
from .limits import Limits, limited
from .operations import Ask, Operation, run
from .schema import Layout, Schema
from .settings import Settings

_logger = logging.getLogger("coatcheck")

T = TypeVar("T")
#: Returns the operation for the tables as they are.
Make = Callable[[Layout], Operation[T]]

#: Every so many writes of a process remove a portion of expired records.
SWEEP_EVERY: Final = 1000
#: Within a smaller part of an operation's time nothing is done.
_LEAST_PART: Final = 0.25
#: How long tables that lack columns of ours are taken to lack them still, in seconds.
_STALE: Final = 2.0
#: How long a connection is known to be good after it was used, in seconds.
_WARM: Final = 5.0


class Warm:
    """
    A connection of the pool that goes from one operation to the next without going back in between.
    """

    __slots__ = ("connection", "driver", "used")

    def __init__(self, connection: Any, driver: Any) -> None:
        self.connection = connection
        #: The driver's connection, which takes an `Ask`.
        self.driver = driver
        #: When, by the monotonic clock.
        self.used = monotonic()

    def is_good(self, lost: float) -> bool:
        """
        Whether it was used a moment ago, and after another one was *lost*.
        """
        return self.used > max(lost, monotonic() - _WARM)


class LinkBase:
    """
    State and decisions of both links. No I/O.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.channel = f"coatcheck_{settings.tasks[:50]}" if settings.listen is not None else None
        self.schema = Schema(settings, channel=self.channel)
        self.trouble: BackendError | None = None
        #: The error for which waits look by themselves just now.
        self.polling: Exception | None = None
        self._layout: Layout | None = None
        self._looked = 0.0
        #: When a connection was found to lead nowhere. The pool replaces those that it holds by then.
        self.lost = 0.0
        self._writable = False
        self._writes = 0
        self.limits = Limits.of(settings.operation_timeout)
        #: Whether statements may go past SQLAlchemy.
        self.quick = settings.url.get_driver_name() in ("psycopg", "pysqlite")
        #: How many connections do not go back to the pool in between.
        self._most_warm = settings.max_connections // 2

    def after_fork(self) -> None:
        self._layout, self._writable = None, False

    def known(self, *, writing: bool) -> Layout | None:
        """
        Return the tables, if they need not be looked up.
        """
        layout = self._layout
        if layout is None or (writing and not self._writable):
            return None
        fresh = layout.complete or monotonic() - self._looked < _STALE
        # Where there is no table one may be made any moment.
        return layout if fresh and layout.tasks and layout.groups else None

    def made(self, make: Make[T], *, writing: bool) -> Operation[T] | None:
        """
        Return the operation, if the tables need not be looked up.
        """
        layout = self.known(writing=writing)
        return make(layout) if layout else None

    def is_direct(self, operation: Operation[T] | None) -> TypeGuard[Ask[T]]:
        """
        Whether *operation* is one statement that goes past SQLAlchemy.
        """
        return self.quick and isinstance(operation, Ask) and operation.direct

    @property
    def told(self) -> bool:
        """
        Whether whoever stores tells of it: where columns of ours are missing only Celery does.
        """
        layout = self._layout
        return layout is None or layout.tasks is None or layout.complete

    def look(self, connection: sa.Connection, *, writing: bool) -> Layout:
        """
        Look the tables up; before a write they are made, or completed.
        """
        layout = self.schema.prepare(connection) if writing else self.schema.look(connection)
        self._layout, self._looked = layout, monotonic()
        self._writable = self._writable or writing
        if layout.advice:
            _logger.warning("%s: %s", self.settings.label, layout.advice)
        return layout

    def deadline(self, attempts: Attempts) -> float:
        """
        Return when a try has to be given up, such that there is time left to do so.
        """
        return monotonic() + attempts.left - self.limits.giving_up

    def perform(self, operation: Operation[T], connection: sa.Connection) -> T:
        """
        Run *operation* within the server's limits.
        """
        with limited(connection):
            return run(connection, operation)

    def forget_tables(self) -> None:
        """
        Have the tables looked up again.
        """
        self._layout, self._writable = None, False

    def part_to_sweep(self, began: float) -> float | None:
        """
        Count a write that *began* at that time. Return what part of an operation's time each of the
        two tables may take to remove expired records; `None` where that is not due, or takes too long.
        """
        self._writes += 1
        if self._writes % SWEEP_EVERY:
            return None
        part = (1 - (monotonic() - began) / self.settings.operation_timeout) / 2
        return part if part > _LEAST_PART else None

    def _translated(self, engine: sa.Engine, lent: Any, error: Exception) -> exc.DBAPIError:
        """
        Return an error of psycopg's as SQLAlchemy raises it, and have the pool know of a connection
        that was lost: those that are idle lead nowhere, either.
        """
        lost = engine.dialect.is_disconnect(error, lent, None)  # type: ignore[arg-type]
        if lost:
            engine.pool._invalidate(lent, error)  # noqa: SLF001 - as SQLAlchemy does
        return exc.DBAPIError(None, None, error, True, lost)  # noqa: FBT003

    def failed(self, error: Exception, attempts: Attempts, *, writing: bool) -> float:
        """
        Take in an error of a try, and return the pause before the next one. Raises ours if there
        is to be none.
        """
        pass_on_interruption(error)
        if is_lost(error):
            self.lost = monotonic()
        gone = is_schema_gone(error)
        if gone:
            self.forget_tables()
        pause = attempts.next_pause() if gone or is_transient(error) else None
        ours = mapped(error, self.settings.label, writing=writing)
        if pause is None:
            raise ours from cause_of(error)
        self.trouble = ours
        return pause
