"""
The way to the database: one engine for each process, one deadline for each operation, and repeats.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc, pool

from coatcheck.errors import BackendError, CoatcheckError
from coatcheck.plugin import (
    Attempts,
    BusyError,
    Turns,
    forks,
    interruption_in,
    lookups,
    monotonic,
    pass_on_interruption,
)

from .bounded_sqlite import BoundedConnection
from .deadline import DEADLINE, left
from .errors import Errors, cause_of, is_garbled, is_lost, is_schema_gone, is_transient, mapped
from .limits import Limits, limited
from .schema import Layout, Schema
from .settings import Settings
from .work import Ask

_logger = logging.getLogger("coatcheck")

T = TypeVar("T")
#: What is done: with a connection in autocommit, and the tables as they are.
Act = Callable[[sa.Connection, Layout], T]
#: The same as one statement; `None` where it is none.
Asked = Callable[[Layout], Ask[T] | None]

#: What part of an operation's time a wait for a connection may take.
_PART: Final = 0.4
#: Every so many writes of a process remove a portion of expired records.
SWEEP_EVERY: Final = 1000
#: Within a smaller part of an operation's time nothing is done.
_LEAST_PART: Final = 0.25
#: How long tables that lack columns of ours are taken to lack them still, in seconds.
_STALE: Final = 2.0
#: How long a connection is known to be good after it was used, in seconds.
_WARM: Final = 5.0
#: Engines of which a fork made a copy. Their connections are the parent's.
_LEFT: Final[list[Any]] = []


class Warm:
    """
    A connection of the pool that goes from one operation to the next without going back in between.
    """

    __slots__ = ("connection", "driver", "used")

    def __init__(self, connection: Any, driver: Any) -> None:
        self.connection = connection
        #: What takes an `Ask`.
        self.driver = driver
        #: When, by the monotonic clock.
        self.used = monotonic()

    def is_good(self, lost: float) -> bool:
        """
        Whether it was used a moment ago, and after another one was *lost*.
        """
        return self.used > max(lost, monotonic() - _WARM)


class Line:
    """
    What the lines of both colours have in common.
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

    def asked(self, ask: Asked[T] | None, *, writing: bool) -> Ask[T] | None:
        """
        Return the one statement of *ask*, if there is one and the tables need not be looked up.
        """
        layout = self.known(writing=writing) if ask else None
        return ask(layout) if ask and layout else None

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

    def act(self, act: Act[T], connection: sa.Connection, layout: Layout) -> T:
        """
        Return what *act* returns, within the server's limits.
        """
        with limited(connection):
            return act(connection, layout)

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

    def engine_options(self) -> dict[str, Any]:
        """
        Return how engines of both colours are made.
        """
        settings, seconds = self.settings, self.settings.operation_timeout
        options: dict[str, Any] = {
            "isolation_level": "AUTOCOMMIT",
            "skip_autocommit_rollback": True,
            "hide_parameters": True,
            "pool_size": settings.max_connections,
            "max_overflow": 0,
            "pool_timeout": seconds * _PART,
            "pool_use_lifo": True,
            "pool_reset_on_return": None,
            "connect_args": self._connect_args(seconds),
        }
        if settings.dialect == "postgresql":
            options["use_native_hstore"] = False
        given = settings.engine_options
        connect_args = {**options["connect_args"], **given.get("connect_args", {})}
        return {**options, **given, "connect_args": connect_args}

    def _connect_args(self, seconds: float) -> dict[str, Any]:
        driver = self.settings.url.get_driver_name()
        if self.settings.dialect == "sqlite":
            args: dict[str, Any] = {"timeout": seconds * _PART, "check_same_thread": False}
            if driver == "pysqlite":
                args["factory"] = BoundedConnection
            return args
        if driver == "pymysql":
            part = seconds * _PART
            return {
                "connect_timeout": max(math.ceil(part), 1), "read_timeout": part,
                "write_timeout": part, "charset": "utf8mb4",
                "init_command": self.limits.mysql,
            }  # fmt: skip
        if driver == "psycopg":
            return {"prepare_threshold": 5 if self.settings.prepare else None}
        if driver == "psycopg2":
            whole = math.ceil(seconds)
            milliseconds = math.ceil(seconds * 1000)
            return {
                "connect_timeout": max(whole, 2), "tcp_user_timeout": milliseconds,
                "options": f"-c statement_timeout={milliseconds}",
            }  # fmt: skip
        return {"connect_timeout": max(math.ceil(seconds), 1)}


class Link(Line):
    """
    The line of synchronous code. Shared by threads, made anew in a forked child.
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
        if self.settings.dialect != "sqlite":
            return
        # One that takes longer than an operation may is left behind.
        self._turns.rest(self.settings.operation_timeout)
        self.close()

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
        if self.settings.dialect == "sqlite" and engine is not None and not self._torn:
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
                    engine = self._make_engine()
                    self._end = weakref.finalize(self, _end, engine, self._warm, os.getpid())
                    self._end.atexit = False
                    self._engine = engine
        return engine

    def _make_engine(self) -> sa.Engine:
        options = self.engine_options()
        url = self.settings.url
        if url.get_driver_name() == "psycopg":
            return _psycopg_engine(url, options, self.limits)
        if url.get_driver_name() == "pymysql":
            return _pymysql_engine(url, options)
        engine = sa.create_engine(url, poolclass=pool.QueuePool, **options)
        if self.settings.dialect == "sqlite":
            sa.event.listen(engine, "connect", _prepare_sqlite)
            if self._tolerant:
                sa.event.listen(engine, "connect", _take_any_text)
        else:
            sa.event.listen(engine, "do_connect", lambda *_: look_up(url))
        return engine

    def run(
        self, act: Act[T], *, writing: bool, ask: Asked[T] | None = None, part: float = 1.0
    ) -> T:
        """
        Return what *act* returns, which raises the driver's errors; *ask* does the same, where that
        is one statement and the tables are known. It takes at most *part* of an operation's time.
        Raises a `BackendError` where no try came through.
        """
        if not self.quick:
            ask = None
        forks.check()
        if self._torn and self.settings.dialect == "sqlite":
            raise forks.torn(self.settings.label)
        seconds = self.settings.operation_timeout * part
        attempts = Attempts(seconds)
        while True:
            token = DEADLINE.set(self.deadline(attempts))
            try:
                return self._in_turn(act, seconds * _PART, writing=writing, ask=ask)
            except Errors as error:
                pause = self._failed(error, attempts, writing=writing)
            except CoatcheckError:
                raise
            except BaseException as error:
                self.close()  # what an interruption left of the driver's pool nobody knows
                pass_on_interruption(error)
                raise
            finally:
                DEADLINE.reset(token)
            time.sleep(pause)

    def _in_turn(self, act: Act[T], seconds: float, *, writing: bool, ask: Asked[T] | None) -> T:
        asked = self.asked(ask, writing=writing)

        def work() -> T:
            return self._ask(asked) if asked else self._do(act, writing=writing)

        result = self._turns.during(work, seconds)
        self.trouble = None
        return result

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

    def _do(self, act: Act[T], *, writing: bool) -> T:
        engine = self.engine()
        lent = engine.pool
        try:
            with engine.connect() as connection:
                try:
                    layout = self.known(writing=writing) or self._look(connection, writing=writing)
                    return self.act(act, connection, layout)
                except BaseException:
                    # Whatever was going on, such as a transaction: the next one gets another.
                    connection.invalidate()
                    raise
        finally:
            if self._engine is not engine:  # closed meanwhile
                lent.dispose()

    def _ask(self, ask: Ask[T]) -> T:
        engine = self.engine()
        warm = self._warmed() or self._warmth(engine)
        driver = warm.driver
        try:
            found = driver.ask(ask.statement, ask.given)
        except engine.dialect.loaded_dbapi.Error as error:
            translated = self._translated(engine, warm.connection.connection, error)
            self._cool(warm)
            raise translated from error
        except BaseException:
            self._cool(warm)
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
            warm.connection.close()  # the pool knows whether it may be used after a long time

    def _keep(self, warm: Warm, engine: sa.Engine) -> None:
        if len(self._warm) < self._most_warm and self._engine is engine:
            warm.used = monotonic()
            self._warm.append(warm)
        else:
            warm.connection.close()
        if self._engine is not engine:  # closed meanwhile
            engine.dispose()

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


def _bounded_engine(url: sa.URL, options: dict[str, Any], connect: Callable[..., Any]) -> sa.Engine:
    """
    Return an engine of connections that keep to the deadline, as *connect* makes them.
    """
    connect_args = options.pop("connect_args")

    def create() -> Any:
        positional, named = engine.dialect.create_connect_args(url)
        return connect(*positional, **{**named, **connect_args})

    engine = sa.create_engine(url, creator=create, poolclass=pool.QueuePool, **options)
    return engine


def _psycopg_engine(url: sa.URL, options: dict[str, Any], limits: Limits) -> sa.Engine:
    from .bounded import PooledConnection  # noqa: PLC0415 - not everybody has psycopg

    def connect(*args: Any, **named: Any) -> PooledConnection:
        look_up(url)
        connection = PooledConnection.connect(*args, **named)
        try:
            connection.begin(limits)
        except BaseException:
            connection.close()
            raise
        return connection

    return _bounded_engine(url, options, connect)


def _pymysql_engine(url: sa.URL, options: dict[str, Any]) -> sa.Engine:
    from .bounded_pymysql import BoundedConnection  # noqa: PLC0415 - as above

    return _bounded_engine(url, options, BoundedConnection)


def look_up(url: sa.URL | None) -> None:
    """
    Look the host up within the time of the operation. The driver does so once more, which takes no
    deadline: the answer is fresh then.
    """
    host = looked_up_host(url)
    if url is not None and host is not None:
        lookups.addresses(host, url.port or 0, left())


def looked_up_host(url: sa.URL | None) -> str | None:
    """
    Return the host, unless it is a socket or there are several.
    """
    host = url.host if url is not None else None
    return host if host and not host.startswith("/") and "," not in host else None


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    # Readers and a writer do not wait for each other; it is a property of the file, and Celery
    # works with it.
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _take_any_text(connection: Any, _: object) -> None:
    # What is no character shows itself by surrogates.
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
