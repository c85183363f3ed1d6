"""
The way to the database for synchronous code: connections, a deadline for each operation, and repeats.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc

from coatcheck.plugin import (
    Attempts,
    BusyError,
    Pool,
    Turns,
    drive,
    forks,
    interruption_in,
    undisturbed,
)

from .deadline import left, until
from .engines import PART, engine_of
from .errors import Errors, is_garbled
from .limits import Limits
from .link_base import LinkBase, T
from .operations import Ask, Operation
from .schema import Layout
from .settings import Settings
from .work import Make, Steps

#: Connections of a parent process. To close them here would end its sessions.
_LEFT: Final[list[Any]] = []


class Lent:
    """A connection of the pool."""

    __slots__ = ("connection", "driver")

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        #: The driver's own connection.
        self.driver: Any = connection.connection.driver_connection


class Opener:
    """
    Opens and closes connections. Holds no link: only the garbage collector could close a link in a cycle.
    """

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self._settings = settings
        self._limits = limits
        self._engine: sa.Engine | None = None
        #: Whether text in SQLite that is not UTF-8 is read as well, which takes longer.
        self.tolerant = False
        #: Whether a thread was using SQLite while this process was forked.
        self.torn = False
        #: SQLAlchemy has locks that an exception of a signal handler would leave locked.
        self._call: Callable[[Callable[[], Any]], Any] = undisturbed

    def engine(self) -> sa.Engine:
        """Return the engine. Two threads may both create one; the second is discarded."""
        if self._engine is None:
            self._engine = engine_of(self._settings, self._limits, tolerant=self.tolerant)
        return self._engine

    def open(self) -> Lent:
        """Connect."""
        lent: Lent = self._call(lambda: Lent(self.engine().connect()))
        return lent

    def close(self, lent: Lent) -> None:
        """Close a connection in any state."""

        def close() -> None:
            lent.connection.invalidate()
            lent.connection.close()

        self._call(close)

    def end(self) -> None:
        """
        From now on close connections in the thread that asks for it. The garbage collector may hold locks.
        """
        self._call = _call

    def tolerate(self) -> None:
        """Have new connections read text in SQLite that is not UTF-8."""
        self.tolerant, self._engine = True, None

    def leave(self, idle: list[Lent]) -> None:
        """Forget the parent's engine, and leave its connections alone."""
        self._engine = None
        if self._settings.dialect.is_file and not self.torn:
            for lent in idle:  # see `coatcheck._embedded.sqlite`
                lent.connection.invalidate()
        else:
            _LEFT.append(idle.copy())


class Link(LinkBase):
    """The link of synchronous code. Shared by threads, made anew in a forked child."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._looking = Turns(1)
        self._opener = opener = Opener(settings, self.limits)
        self._pool = Pool[Lent](
            opener.open, opener.close, limit=settings.max_connections, leave=opener.leave
        )
        self._keep()
        forks.register_quiescent(self)

    def _keep(self) -> None:
        #: Runs when this object is dropped.
        self._end = weakref.finalize(self, _drop, self._opener, self._pool, os.getpid())
        self._end.atexit = False

    # What SQLite believes of its locks must not be copied, and the locks are not
    # (sqlite.org/howtocorrupt.html, 2.6): nothing is open while the process forks.

    def before_fork(self) -> None:
        if self.settings.dialect.is_file:
            # A thread that takes longer than an operation may is left behind.
            self._pool.turns.rest(self.settings.operation_timeout)
            self._pool.close()

    def after_fork_in_parent(self) -> None:
        self._pool.turns.resume()

    def after_fork(self) -> None:
        self.known.forget()
        self._opener.torn = self._opener.torn or self._pool.turns.are_taken
        self._pool.after_fork()
        self._looking.after_fork()
        self._end.detach()
        self._keep()

    def run(self, make: Make[T], *, writing: bool, part: float = 1.0) -> T:
        """
        Run the operation that *make* returns, in at most this *part* of an operation's time. Raises a
        `BackendError` if no try succeeds.
        """
        forks.check()
        if self._opener.torn and self.settings.dialect.is_file:
            raise forks.torn(self.settings.label)
        return self.repeats.run(partial(self._try, make, writing), writing=writing, part=part)

    def follow(self, steps: Steps[T]) -> T:
        """Run the operations that *steps* yields, and return its value."""
        return drive(
            steps, lambda asked: self.run(asked.make, writing=asked.writing, part=asked.part)
        )

    def _try(self, make: Make[T], writing: bool, attempts: Attempts) -> T:  # noqa: FBT001
        return until(self.deadline(attempts), partial(self._act, make, writing))

    def _act(self, make: Make[T], writing: bool) -> T:  # noqa: FBT001 - as above
        operation = self.made(make, writing=writing)
        if self.is_direct(operation):
            act: Any = partial(self._ask, operation)
        else:
            act = partial(self._do, make, operation, writing)
        seconds = self.settings.operation_timeout * PART
        try:
            result: T = self._pool.lend(act, min(left(), seconds))
        except BusyError as error:
            raise exc.TimeoutError(str(error)) from None
        except Errors as error:
            if is_garbled(error) and not self._opener.tolerant and interruption_in(error) is None:
                self._opener.tolerate()
                self._pool.close()
            raise
        return result

    def _ask(self, ask: Ask[T], lent: Lent) -> T:
        driver = lent.driver
        try:
            found = driver.ask(ask.statement, ask.given)
        except self._opener.engine().dialect.loaded_dbapi.Error as error:
            engine, connection = self._opener.engine(), lent.connection.connection
            raise self._translated(engine, connection, error) from error
        return ask.answer(found)

    def _do(self, make: Make[T], operation: Operation[T] | None, writing: bool, lent: Lent) -> T:  # noqa: FBT001
        if operation is None:
            operation = make(self._look(lent.connection, writing=writing))
        return self.perform(operation, lent.connection)

    def _look(self, connection: sa.Connection, *, writing: bool) -> Layout:
        """Look the tables up, one thread at a time: of many first writes one makes the tables."""

        def look() -> Layout:
            return self.known.tables(writing=writing) or self.known.look(
                connection, writing=writing
            )

        try:
            return self._looking.during(look, left())
        except BusyError:
            raise exc.TimeoutError("another thread is looking the tables up") from None

    def close(self) -> None:
        """Close the connections; the next operation opens new ones."""
        self._pool.close()


def _call(act: Callable[[], Any]) -> Any:
    return act()


def _drop(opener: Opener, pool: Pool[Lent], pid: int) -> None:
    """Close the connections, unless they belong to the process that forked this one."""
    if pid == os.getpid():
        opener.end()
        pool.close()
    else:
        _LEFT.append(pool)
