"""
Connections of psycopg that keep to a deadline, whatever the server does.

libpq has no timeout of its own for a server that takes a statement and never answers.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from .deadline import left
from .wire import Statement, Wire

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

T = TypeVar("T")

#: How often a wait looks at the deadline, in seconds.
_INTERVAL: Final = 0.05
_HOUR: Final = 3600.0
_GOOD: Final = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class Late(psycopg.OperationalError):
    """
    The deadline passed.
    """


def _bounded(generator: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    """
    Yield what *generator* yields, which are waits for the socket, until the deadline.
    """
    try:
        wanted = next(generator)
        while True:
            ready = yield wanted
            if not ready and left() < 0:
                raise Late("the server said nothing in time")
            wanted = generator.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result


def _wire_of(connection: psycopg.BaseConnection[Any]) -> Wire:
    prepare = connection.prepare_threshold is not None
    return Wire(connection.pgconn, connection.info.encoding, prepare=prepare)


def _pause(socket: int, *, write: bool = False) -> None:
    """
    Wait until the server has sent something, or takes something; an hour at most, since systems do
    not take any number. Raises `Late`.
    """
    seconds = min(max(left(), 0.0), _HOUR)
    # By the module, in which gevent puts its own.
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(socket, select.POLLIN | select.POLLOUT if write else select.POLLIN)
        ready = bool(poll.poll(seconds * 1000))
    else:
        ready = any(select.select([socket], [socket] if write else [], [], seconds))
    if not ready and left() <= 0:
        raise Late("the server said nothing in time")


def _is_over(pgconn: PGconn, results: list[PGresult]) -> bool:
    """
    Put what has come of an answer into *results*; whether that is all of it.
    """
    while not pgconn.is_busy():
        result = pgconn.get_result()
        if result is None:
            return True
        results.append(result)
    return False


def _checked(results: list[PGresult], connection: psycopg.BaseConnection[Any]) -> PGresult:
    """
    Return the answer to one statement. Raises psycopg's errors.
    """
    for result in results:
        if result.status in _GOOD:
            return result
        raise error_from_result(result, connection.info.encoding)
    raise psycopg.OperationalError("the server gave no answer")


class Connection(psycopg.Connection[Any]):
    """
    For synchronous code.
    """

    @classmethod
    def _connect_gen(cls, *args: Any, **options: Any) -> Any:
        return _bounded(super()._connect_gen(*args, **options))

    def wait(  # type: ignore[override]  # psycopg 3.3 has an argument more than 3.2
        self, gen: Any, interval: float = _INTERVAL, **options: Any
    ) -> Any:
        """
        See psycopg.
        """
        try:
            return super().wait(_bounded(gen), min(interval, _INTERVAL), **options)
        except Late:
            self.pgconn.finish()  # the answer may yet come, to nobody
            raise


class PooledConnection(Connection):
    """
    For SQLAlchemy's pool.
    """

    _wire: Wire | None = None

    def ask(self, statement: Statement, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        """
        Return the rows that the server answers to *statement* with the values *given*. Nothing else
        may be under way. Raises psycopg's errors.
        """
        wire = self._wire = self._wire or _wire_of(self)
        if wire.is_due(statement):
            wire.prepare(statement)
            self._answer()
            wire.prepared(statement)
        wire.send(statement, given)
        return statement.rows(self._answer(), wire.encoding)

    def _answer(self) -> PGresult:
        pgconn = self.pgconn
        try:
            while pgconn.flush():
                _pause(pgconn.socket, write=True)
                pgconn.consume_input()
            results: list[PGresult] = []
            while not _is_over(pgconn, results):
                _pause(pgconn.socket)
                pgconn.consume_input()
            return _checked(results, self)
        except Late:
            pgconn.finish()
            raise

    def __del__(self) -> None:  # type: ignore[override]  # without its argument
        # The pool drops a connection whose first statements fail without closing it, of which
        # psycopg would warn. libpq closes it with the object.
        return


class AsyncConnection(psycopg.AsyncConnection[Any]):
    """
    For asyncio.
    """

    @classmethod
    def _connect_gen(cls, *args: Any, **options: Any) -> Any:
        return _bounded(super()._connect_gen(*args, **options))

    async def wait(  # type: ignore[override]  # as above
        self, gen: Any, interval: float = _INTERVAL, **options: Any
    ) -> Any:
        """
        See psycopg.
        """
        try:
            return await super().wait(_bounded(gen), min(interval, _INTERVAL), **options)
        except Late:
            self.pgconn.finish()
            raise

    _wire: Wire | None = None

    async def ask(self, statement: Statement, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        """
        See `PooledConnection.ask`.
        """
        wire = self._wire = self._wire or _wire_of(self)
        if wire.is_due(statement):
            wire.prepare(statement)
            await self.answer()
            wire.prepared(statement)
        wire.send(statement, given)
        return statement.rows(await self.answer(), wire.encoding)

    async def answer(self) -> PGresult:
        """
        Return the answer to what was sent. Raises psycopg's errors.
        """
        pgconn = self.pgconn
        try:
            while pgconn.flush():
                await _until_ready(pgconn.socket, write=True)
                pgconn.consume_input()
            results: list[PGresult] = []
            while not _is_over(pgconn, results):
                await _until_ready(pgconn.socket)
                pgconn.consume_input()
            return _checked(results, self)
        except Late:
            pgconn.finish()
            raise


async def _until_ready(socket: int, *, write: bool = False) -> None:
    """
    As `_pause`.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def end(error: Late | None = None) -> None:
        if not ready.done():
            ready.set_exception(error) if error else ready.set_result(None)

    late = loop.call_later(max(left(), 0.0), end, Late("the server said nothing in time"))
    loop.add_reader(socket, end)
    if write:
        loop.add_writer(socket, end)
    try:
        await ready
    finally:
        late.cancel()
        loop.remove_reader(socket)
        if write:
            loop.remove_writer(socket)
