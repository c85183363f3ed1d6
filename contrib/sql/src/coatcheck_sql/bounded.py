"""
Connections of psycopg that keep to a deadline, whatever the server does.

libpq has no timeout of its own for a server that takes a statement and never answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg import waiting
from psycopg.adapt import Loader
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.types.datetime import TimestamptzLoader

from coatcheck.plugin import monotonic, sockets

from .deadline import DEADLINE, left
from .limits import LIMIT_SESSION, LIMIT_TRANSACTION, SPEAK, Limits
from .records import Letters, letters_of
from .wire import Statement, Wire

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

T = TypeVar("T")

#: How often a wait looks at the deadline, in seconds.
_INTERVAL: Final = 0.05
_HOUR: Final = 3600.0
_GOOD: Final = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class Late(psycopg.OperationalError):
    """
    The deadline passed.
    """


def _bounded(generator: Generator[Any, Any, T], *, again: bool = False) -> Generator[Any, Any, T]:
    """
    Yield what *generator* yields, which are waits for the socket, until the deadline; *again* if
    that has passed once.
    """
    try:
        wanted = generator.send(0) if again else next(generator)
        while True:
            ready = yield wanted
            if left() < 0:  # also while something comes, too slowly
                raise Late("the server said nothing in time")
            wanted = generator.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result


def _wire_of(connection: psycopg.BaseConnection[Any]) -> Wire:
    prepare = connection.prepare_threshold is not None
    return Wire(connection.pgconn, _encoding_of(connection), prepare=prepare)


def _seconds() -> float:
    """
    Return the time that there is. Raises `Late` where there is none, also while something comes: it
    may come too slowly.
    """
    seconds = left()
    if seconds <= 0:
        raise Late("the server did not answer in time")
    return seconds


def _pause(socket: int, *, write: bool = False) -> None:
    """
    Wait until the server has sent something, or takes something; an hour at most, since systems do
    not take any number. Raises `Late`.
    """
    seconds = min(_seconds(), _HOUR)
    ready = sockets.ready([socket], seconds, writing=[socket] if write else ())
    if not ready and left() <= 0:
        raise Late("the server said nothing in time")


def _checked(results: list[PGresult], connection: psycopg.BaseConnection[Any]) -> PGresult:
    """
    Return the last answer. Raises psycopg's errors.
    """
    for result in results:
        if result.status not in _GOOD:
            raise error_from_result(result, connection.info.encoding)
    if not results:
        raise psycopg.OperationalError("the server gave no answer")
    return results[-1]


def _is_busy(connection: psycopg.BaseConnection[Any]) -> bool:
    """
    Whether the server still works on something, as far as is known.
    """
    return connection.pgconn.transaction_status == TransactionStatus.ACTIVE


@contextmanager
def _more_time(seconds: float) -> Iterator[None]:
    token = DEADLINE.set(monotonic() + seconds)
    try:
        yield
    finally:
        DEADLINE.reset(token)


class _TextLoader(Loader):
    """
    Of a database that does not check what it is given: what is no character shows itself.
    """

    def load(self, data: Any) -> str:
        return bytes(data).decode(self._encoding, "surrogateescape")

    def __init__(self, oid: int, context: Any = None) -> None:
        super().__init__(oid, context)
        self._encoding = _encoding_of(self.connection) if self.connection else "utf-8"


class _DateLoader(TimestamptzLoader):
    """
    Of dates that Python has not, such as infinity, makes none.
    """

    def load(self, data: Any) -> Any:
        try:
            return super().load(data)
        except (psycopg.Error, NotImplementedError):
            return None


def _encoding_of(connection: psycopg.BaseConnection[Any]) -> str:
    """
    Return Python's name of what text is sent in. A database that has none holds what Celery wrote.
    """
    encoding = connection.info.encoding
    return "utf-8" if encoding == "ascii" else encoding


def _letters_of(connection: psycopg.BaseConnection[Any]) -> Letters:
    return letters_of(connection.info.parameter_status("server_encoding"))


def _converted(connection: psycopg.BaseConnection[Any]) -> str | None:
    """
    Return the database's encoding if the session has another: the server would convert, and refuse
    what it cannot.
    """
    server = connection.info.parameter_status("server_encoding")
    known = _letters_of(connection).encoding != "ascii"
    same = server == connection.info.parameter_status("client_encoding")
    return None if same or not known else server


def _load_anything(connection: psycopg.BaseConnection[Any]) -> None:
    """
    Have no value of a row, whatever it is, break the read of others.
    """
    connection.adapters.register_loader("timestamptz", _DateLoader)
    if connection.info.encoding != "utf-8":
        for kind in ("text", "varchar", "bpchar", "name"):
            connection.adapters.register_loader(kind, _TextLoader)


def _heard(connection: psycopg.BaseConnection[Any]) -> Iterator[str]:
    pgconn, encoding = connection.pgconn, _encoding_of(connection)
    pgconn.consume_input()
    while notify := pgconn.notifies():
        yield notify.extra.decode(encoding, "replace")


class Connection(psycopg.Connection[Any]):
    """
    For synchronous code. What it gives up is cancelled at the server.
    """

    #: How long giving up may take, in seconds.
    giving_up = 0.25
    #: What each transaction has to set for itself, since the session is a pooler's.
    local_limits: Limits | None = None
    _wire: Wire | None = None

    @classmethod
    def _connect_gen(cls, *args: Any, **options: Any) -> Any:
        return _bounded(super()._connect_gen(*args, **options))

    def wait(  # type: ignore[override]  # psycopg 3.3 has an argument more than 3.2
        self, gen: Any, interval: float = _INTERVAL, **options: Any
    ) -> Any:
        """
        See psycopg.
        """

        def receive(*, again: bool) -> Any:
            # Not psycopg's method: after a KeyboardInterrupt that takes up to ten seconds.
            bounded, soon = _bounded(gen, again=again), min(interval, _INTERVAL)
            return waiting.wait(bounded, self.pgconn.socket, soon, **options)

        return self._received(receive)

    def _received(self, receive: Callable[..., T]) -> T:
        """
        Return what *receive* returns. Where it is given up, the server is told; the session goes on
        if the server says at once that it has stopped. Raises what *receive* raises.
        """
        try:
            return receive(again=False)
        except Late:
            with self._ending(), _more_time(self.giving_up):
                self._cancel()
                return receive(again=True)
        except BaseException:
            if _is_busy(self):  # such as an exception raised by the handler of a signal
                with self._ending():
                    self._cancel()
            raise

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """
        Close the connection if the server still works on something afterwards.
        """
        try:
            yield
        finally:
            if _is_busy(self):
                self.pgconn.finish()  # the answer may yet come, to nobody

    def _cancel(self) -> None:
        if psycopg.capabilities.has_cancel_safe():  # what older ones have knows no deadline
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=self.giving_up)

    @property
    def letters(self) -> Letters:
        """
        The letters that the database knows.
        """
        return _letters_of(self)

    def heard(self) -> Iterator[str]:
        """
        Iterate over what notifications that have come say. Raises psycopg's errors.
        """
        return _heard(self)

    def begin(self, limits: Limits) -> None:
        """
        Agree with the server on letters, and have it keep to *limits*.
        """
        letters = _converted(self)
        if letters is not None:
            self.ask(SPEAK, {"letters": letters})
            self._wire = None
        _load_anything(self)
        self.giving_up = limits.giving_up
        given = {"pid": self.pgconn.backend_pid, **limits.values}
        if not self.ask(LIMIT_SESSION, given)[0]["own"]:
            self.local_limits = limits
            self.wire.before = (LIMIT_TRANSACTION, limits.values)

    @property
    def wire(self) -> Wire:
        """
        What was sent, made when it is first needed.
        """
        wire = self._wire = self._wire or _wire_of(self)
        return wire

    def ask(self, statement: Statement, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        """
        Return the rows that the server answers to *statement* with the values *given*. Nothing else
        may be under way. Raises psycopg's errors.
        """
        wire = self.wire
        if wire.is_due(statement):
            wire.prepare(statement)
            self._received(partial(self._receive, []))
            wire.prepared(statement)
        wire.send(statement, given)
        return statement.rows(self._received(partial(self._receive, [])), wire.encoding)

    def _receive(self, results: list[PGresult], **_: bool) -> PGresult:
        pgconn, wire = self.pgconn, self.wire
        while pgconn.flush():
            _pause(pgconn.socket, write=True)
            pgconn.consume_input()
        while not wire.is_over(results):
            _pause(pgconn.socket)
            pgconn.consume_input()
        return _checked(results, self)


class PooledConnection(Connection):
    """
    For SQLAlchemy's pool.
    """

    def __del__(self) -> None:  # type: ignore[override]  # without its argument
        # The pool drops a connection whose first statements fail without closing it, of which
        # psycopg would warn. libpq closes it with the object.
        return


class AsyncConnection(psycopg.AsyncConnection[Any]):
    """
    For asyncio.
    """

    giving_up = 0.25
    local_limits: Limits | None = None
    _wire: Wire | None = None

    @classmethod
    def _connect_gen(cls, *args: Any, **options: Any) -> Any:
        return _bounded(super()._connect_gen(*args, **options))

    async def wait(  # type: ignore[override]  # as above
        self, gen: Any, interval: float = _INTERVAL, **options: Any
    ) -> Any:
        """
        See psycopg.
        """

        async def receive(*, again: bool) -> Any:
            bounded, soon = _bounded(gen, again=again), min(interval, _INTERVAL)
            return await waiting.wait_async(bounded, self.pgconn.socket, soon, **options)

        return await self._received(receive)

    async def _received(self, receive: Callable[..., Awaitable[T]]) -> T:
        """
        See `Connection._received`. One who is cancelled leaves the answer to `answer`.
        """
        try:
            return await receive(again=False)
        except Late:
            try:
                with _more_time(self.giving_up):
                    await self._cancel()
                    return await receive(again=True)
            finally:
                if _is_busy(self):
                    self.pgconn.finish()

    async def _cancel(self) -> None:
        if psycopg.capabilities.has_cancel_safe():
            with suppress(psycopg.Error):
                await self.cancel_safe(timeout=self.giving_up)

    @property
    def letters(self) -> Letters:
        """
        See `Connection.letters`.
        """
        return _letters_of(self)

    def heard(self) -> Iterator[str]:
        """
        See `Connection.heard`.
        """
        return _heard(self)

    async def is_talkative(self) -> bool:
        """
        Wait for the server to say something, until the deadline; whether it did.
        """
        try:
            await _until_ready(self.pgconn.socket)
        except Late:
            return False
        return True

    async def begin(self, limits: Limits) -> None:
        """
        See `Connection.begin`.
        """
        letters = _converted(self)
        if letters is not None:
            await self.ask(SPEAK, {"letters": letters})
            self._wire = None
        _load_anything(self)
        self.giving_up = limits.giving_up
        given = {"pid": self.pgconn.backend_pid, **limits.values}
        if not (await self.ask(LIMIT_SESSION, given))[0]["own"]:
            self.local_limits = limits
            self.wire.before = (LIMIT_TRANSACTION, limits.values)

    @property
    def wire(self) -> Wire:
        """
        See `Connection.wire`.
        """
        wire = self._wire = self._wire or _wire_of(self)
        return wire

    async def ask(self, statement: Statement, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        """
        See `Connection.ask`.
        """
        wire = self.wire
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
        return await self._received(partial(self._receive, []))

    async def _receive(self, results: list[PGresult], **_: bool) -> PGresult:
        pgconn, wire = self.pgconn, self.wire
        while pgconn.flush():
            await _until_ready(pgconn.socket, write=True)
            pgconn.consume_input()
        while not wire.is_over(results):
            await _until_ready(pgconn.socket)
            pgconn.consume_input()
        return _checked(results, self)


async def _until_ready(socket: int, *, write: bool = False) -> None:
    """
    As `_pause`.
    """
    loop, seconds = asyncio.get_running_loop(), _seconds()
    ready: asyncio.Future[None] = loop.create_future()

    def end(error: Late | None = None) -> None:
        if not ready.done():
            ready.set_exception(error) if error else ready.set_result(None)

    late = loop.call_later(seconds, end, Late("the server said nothing in time"))
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
