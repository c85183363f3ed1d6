"""
The way to the database: one engine for each process, one deadline for each operation, and repeats.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from functools import partial
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from coatcheck.errors import CoatcheckError
from coatcheck.plugin import (
    Attempts,
    BusyError,
    Turns,
    forks,
    interruption_in,
    monotonic,
    pass_on_interruption,
    undisturbed,
)

from .deadline import DEADLINE, left
from .engines import PART, engine_of
from .errors import Errors, is_garbled
from .link_base import LinkBase, Make, Warm
from .operations import Ask, Operation
from .schema import Layout
from .settings import Settings

T = TypeVar("T")
#: Engines of which a fork made a copy. Their connections are the parent's.
_LEFT: Final[list[Any]] = []


class Link(LinkBase):
    """
    The link of synchronous code. Shared by threads, made anew in a forked child.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._lock = threading.Lock()
        self._looking = Turns(1)
        self._engine: sa.Engine | None = None
        self._warm: deque[Warm] = deque()
        #: Closes what is open; called at the latest when this object is dropped.
        self._end: weakref.finalize[..., Link] | None = None
        forks.register_quiescent(self)
        #: However many engines there were, so many connections are in use.
        self._turns = Turns(settings.max_connections)
        #: Whether somebody was using SQLite while this process was forked.
        self._torn = False
        #: Whether text in SQLite that is no UTF-8 is read, too. It takes longer.
        self._tolerant = False

    # What SQLite believes of its locks must not be copied, and the locks are not
    # (sqlite.org/howtocorrupt.html, 2.6): nothing is open while the process forks.

    def before_fork(self) -> None:
        if not self.settings.dialect.is_file:
            return
        # One that takes longer than an operation may is left behind.
        self._turns.rest(self.settings.operation_timeout)
        self._close()  # here: a fork is not to find another thread

    def after_fork_in_parent(self) -> None:
        self._turns.resume()

    def after_fork(self) -> None:
        super().after_fork()
        self._lock = threading.Lock()
        self._torn = self._torn or self._turns.are_taken
        self._looking.after_fork()
        self._turns.after_fork()
        engine, warm = self._engine, self._warm
        if self._end is not None:
            self._end.detach()
        self._engine, self._warm, self._end = None, deque(), None
        if self.settings.dialect.is_file and engine is not None and not self._torn:
            _close(engine, warm)  # see `coatcheck._embedded.sqlite`
        else:
            _LEFT.append((engine, warm))

    def engine(self) -> sa.Engine:
        """
        Return the engine, which connects when it is used.
        """
        engine = self._engine
        if engine is None:
            with self._lock:
                engine = self._engine
                if engine is None:
                    engine = engine_of(self.settings, self.limits, tolerant=self._tolerant)
                    self._end = weakref.finalize(self, _end, engine, self._warm, os.getpid())
                    self._end.atexit = False
                    self._engine = engine
        return engine

    def run(self, make: Make[T], *, writing: bool, part: float = 1.0) -> T:
        """
        Run the operation that *make* returns, in at most *part* of an operation's time. Raises a
        `BackendError` where no try came through.
        """
        forks.check()
        if self._torn and self.settings.dialect.is_file:
            raise forks.torn(self.settings.label)
        seconds = self.settings.operation_timeout * part
        attempts = Attempts(seconds)
        while True:
            before = DEADLINE.get()
            try:
                DEADLINE.set(self.deadline(attempts))
                return self._in_turn(make, seconds * PART, writing=writing)
            except Errors as error:
                pause = self._failed(error, attempts, writing=writing)
            except CoatcheckError:
                raise
            except BaseException as error:
                self.close()  # what an interruption left of the driver's pool nobody knows
                pass_on_interruption(error)
                raise
            finally:
                DEADLINE.set(before)
            time.sleep(pause)

    def _in_turn(self, make: Make[T], seconds: float, *, writing: bool) -> T:
        operation = self.made(make, writing=writing)
        if not (self._warm and self.is_direct(operation)):
            act = partial(self._act, make, operation, writing=writing)
            # SQLAlchemy's pool has locks that an exception of a signal handler would leave locked.
            result = undisturbed(partial(self._turns.during, act, seconds))
        else:
            # As `Turns.during`, in one function: each call is a part of a fetch.
            free, held = self._turns.free, list[None]()
            try:
                self._turns.take(held, seconds)
                result = self._ask(operation)
            finally:
                if held:
                    free.put(None)
        self.trouble = None
        return result

    def _act(self, make: Make[T], operation: Operation[T] | None, *, writing: bool) -> T:
        if self.is_direct(operation):
            return self._ask(operation)
        return self._do(make, operation, writing=writing)

    def _failed(self, error: Exception, attempts: Attempts, *, writing: bool) -> float:
        """
        As `failed`, for what may be an interruption.
        """
        if interruption_in(error) is not None:
            self.close()
        if is_garbled(error) and not self._tolerant:
            self._tolerant = True
            self.close()
            return 0.0
        return self.failed(error, attempts, writing=writing)

    def _do(self, make: Make[T], operation: Operation[T] | None, *, writing: bool) -> T:
        engine = self.engine()
        lent = engine.pool
        try:
            with engine.connect() as connection:
                try:
                    if operation is None:
                        operation = make(self._look(connection, writing=writing))
                    return self.perform(operation, connection)
                except BaseException:
                    # Whatever was going on, such as a transaction: the next one gets another.
                    connection.invalidate()
                    raise
        finally:
            if self._engine is not engine:  # closed meanwhile
                lent.dispose()

    def _ask(self, ask: Ask[T]) -> T:
        engine = self._engine or self.engine()
        warm = self._warmed() or undisturbed(partial(self._warmth, engine))
        driver = warm.driver
        try:
            found = driver.ask(ask.statement, ask.given)
        except engine.dialect.loaded_dbapi.Error as error:
            translate = partial(self._translated, engine, warm.connection.connection, error)
            translated = undisturbed(translate)
            undisturbed(partial(self._cool, warm))
            raise translated from error
        except BaseException:
            undisturbed(partial(self._cool, warm))
            raise
        self._keep(warm, engine)
        return ask.answer(found)

    def _warmth(self, engine: sa.Engine) -> Warm:
        connection = engine.connect()
        return Warm(connection, connection.connection.driver_connection)

    def _warmed(self) -> Warm | None:
        """
        Return a connection that was used a moment ago, if there is one.
        """
        while True:
            try:
                warm = self._warm.pop()
            except IndexError:
                return None
            if warm.is_good(self.lost):
                return warm
            # The pool knows whether it may be used after a long time.
            undisturbed(warm.connection.close)

    def _keep(self, warm: Warm, engine: sa.Engine) -> None:
        if len(self._warm) < self._most_warm and self._engine is engine:
            warm.used = monotonic()
            self._warm.append(warm)
        else:
            undisturbed(warm.connection.close)
        if self._engine is not engine:  # closed meanwhile
            undisturbed(engine.dispose)

    def _cool(self, warm: Warm) -> None:
        """
        Throw away a connection after an error; the next operation gets another one.
        """
        warm.connection.invalidate()
        warm.connection.close()

    def _look(self, connection: sa.Connection, *, writing: bool) -> Layout:
        """
        Look the tables up, one thread at a time: of many first writes one makes the tables.
        """

        def look() -> Layout:
            return self.known(writing=writing) or self.look(connection, writing=writing)

        try:
            return self._looking.during(look, left())
        except BusyError:
            raise exc.TimeoutError("another thread is looking the tables up") from None

    def close(self) -> None:
        """
        Close the connections; the next operation opens new ones.
        """
        forks.check()
        undisturbed(self._close)

    def _close(self) -> None:
        self._engine = None
        end, self._end = self._end, None
        if end is not None:
            end()


def _end(engine: sa.Engine, warm: deque[Warm], pid: int) -> None:
    """
    Close the connections, unless they are those of the process that forked this one.
    """
    if pid == os.getpid():
        _close(engine, warm)
    else:
        _LEFT.append((engine, warm))


def _close(engine: sa.Engine, warm: deque[Warm]) -> None:
    while warm:
        warm.pop().connection.close()
    engine.dispose()
