"""
Connections of psycopg that keep to a deadline.

libpq has no timeout of its own for a server that receives a statement and never answers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
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

from .deadline import left, until
from .letters import Letters, letters_of
from .limits import LIMIT_SESSION, LIMIT_TRANSACTION, SPEAK, Limits
from .wire import Statement, Wire

if TYPE_CHECKING:
    from psycopg import ConnectionInfo
    from psycopg.adapt import AdaptersMap
    from psycopg.pq.abc import PGconn, PGresult

T = TypeVar("T")

#: How often a wait looks at the deadline, in seconds.
INTERVAL: Final = 0.05
_HOUR: Final = 3600.0
_GOOD: Final = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class Late(psycopg.OperationalError):
    """The deadline passed."""


def bounded(generator: Generator[Any, Any, T], *, again: bool = False) -> Generator[Any, Any, T]:
    """
    Pass on the waits for the socket that *generator* yields, until the deadline. With *again* the deadline has
    passed once before.
    """
    try:
        wanted = generator.send(0) if again else next(generator)
        while True:
            ready = yield wanted
            if left() < 0:  # also while an answer arrives, too slowly
                raise Late("the server said nothing in time")
            wanted = generator.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result


def seconds_left() -> float:
    """
    Return the seconds left. Raises `Late` when they are over, even while an answer arrives: it may arrive too
    slowly.
    """
    seconds = left()
    if seconds <= 0:
        raise Late("the server did not answer in time")
    return seconds


def _pause(socket: int, *, write: bool = False) -> None:
    """
    Wait until the socket is ready, an hour at most, because systems limit the number. Raises `Late`.
    """
    seconds = min(seconds_left(), _HOUR)
    ready = sockets.ready([socket], seconds, writing=[socket] if write else ())
    if not ready and left() <= 0:
        raise Late("the server said nothing in time")


class _TextLoader(Loader):
    """Loads text of a database that does not check its encoding; wrong bytes become surrogates."""

    def load(self, data: Any) -> str:
        return bytes(data).decode(self._encoding, "surrogateescape")

    def __init__(self, oid: int, context: Any = None) -> None:
        super().__init__(oid, context)
        self._encoding = encoding_of(self.connection.info) if self.connection else "utf-8"


class _DateLoader(TimestamptzLoader):
    """Loads `None` for dates that Python does not have, such as infinity."""

    def load(self, data: Any) -> Any:
        try:
            return super().load(data)
        except (psycopg.Error, NotImplementedError):
            return None


def encoding_of(info: ConnectionInfo) -> str:
    """
    Return Python's name of the encoding of text. A database without an encoding holds text of Celery's.
    """
    encoding = info.encoding
    return "utf-8" if encoding == "ascii" else encoding


class Bounded:
    """The base of the connections of both sides."""

    #: How long giving up may take, in seconds.
    giving_up = 0.25
    #: The limits that each transaction must set for itself, because the session belongs to a pooler.
    local_limits: Limits | None = None
    _wire: Wire | None = None

    # Of psycopg's.
    pgconn: PGconn
    info: ConnectionInfo
    adapters: AdaptersMap
    prepare_threshold: int | None

    @classmethod
    def _connect_gen(cls, *args: Any, **options: Any) -> Any:
        return bounded(super()._connect_gen(*args, **options))  # type: ignore[misc]

    @property
    def letters(self) -> Letters:
        """The characters that the database has."""
        return letters_of(self.info.parameter_status("server_encoding"))

    @property
    def wire(self) -> Wire:
        """The statements of this connection; created on first use."""
        wire = self._wire
        if wire is None:
            prepare = self.prepare_threshold is not None
            wire = self._wire = Wire(self.pgconn, encoding_of(self.info), prepare=prepare)
        return wire

    def heard(self) -> Iterator[str]:
        """Iterate over the payloads of notifications that have arrived. Raises psycopg's errors."""
        encoding = encoding_of(self.info)
        self.pgconn.consume_input()
        while notify := self.pgconn.notifies():
            yield notify.extra.decode(encoding, "replace")

    def _is_busy(self) -> bool:
        return self.pgconn.transaction_status == TransactionStatus.ACTIVE

    def _beginning(self, limits: Limits) -> Generator[tuple[Statement, Any], Any, None]:
        """
        Agree with the server on an encoding, and have it keep to *limits*: yield statements, and receive the
        rows of the answers.
        """
        server = self.info.parameter_status("server_encoding")
        client = self.info.parameter_status("client_encoding")
        if server != client and self.letters.encoding != "ascii":
            # The server would convert, and refuse characters that it cannot.
            yield SPEAK, {"letters": server}
            self._wire = None
        self.adapters.register_loader("timestamptz", _DateLoader)
        if self.info.encoding != "utf-8":
            for kind in ("text", "varchar", "bpchar", "name"):
                self.adapters.register_loader(kind, _TextLoader)
        self.giving_up = limits.giving_up
        given = {"pid": self.pgconn.backend_pid, **limits.values}
        (row,) = yield LIMIT_SESSION, given
        if not row["own"]:
            self.local_limits = limits
            self.wire.before = (LIMIT_TRANSACTION, limits.values)

    def _checked(self, results: list[PGresult]) -> PGresult:
        """Return the last answer. Raises psycopg's errors."""
        for result in results:
            if result.status not in _GOOD:
                raise error_from_result(result, self.info.encoding)
        if not results:
            raise psycopg.OperationalError("the server gave no answer")
        return results[-1]


class Connection(Bounded, psycopg.Connection[Any]):
    """For synchronous code. A statement that it gives up is cancelled at the server."""

    def wait(  # type: ignore[override]  # psycopg 3.3 has an argument more than 3.2
        self, gen: Any, interval: float = INTERVAL, **options: Any
    ) -> Any:
        """See psycopg."""

        def receive(*, again: bool) -> Any:
            # Not psycopg's method: after a KeyboardInterrupt that takes up to ten seconds.
            waits, soon = bounded(gen, again=again), min(interval, INTERVAL)
            return waiting.wait(waits, self.pgconn.socket, soon, **options)

        return self._received(receive)

    def _received(self, receive: Callable[..., T]) -> T:
        """
        Return the answer that *receive* returns. If that takes too long, cancel the statement. The session
        goes on if the server confirms at once.
        """
        try:
            return receive(again=False)
        except Late:
            return until(monotonic() + self.giving_up, partial(self._give_up, receive))
        except BaseException:
            if self._is_busy():  # after an exception of a signal handler
                with self._ending():
                    self._cancel()
            raise

    def _give_up(self, receive: Callable[..., T]) -> T:
        with self._ending():
            self._cancel()
            return receive(again=True)

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Close the connection if the server is still busy afterwards."""
        try:
            yield
        finally:
            if self._is_busy():
                self.pgconn.finish()  # a late answer would confuse the next statement

    def _cancel(self) -> None:
        if psycopg.capabilities.has_cancel_safe():  # before libpq 17 nothing keeps to a deadline
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=self.giving_up)

    def begin(self, limits: Limits) -> None:
        """Agree with the server on an encoding, and have it keep to *limits*."""
        beginning = self._beginning(limits)
        statement, given = next(beginning)
        with suppress(StopIteration):
            while True:
                statement, given = beginning.send(self.ask(statement, given))

    def ask(self, statement: Statement, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        """
        Return the rows of the answer to *statement* with the values *given*. No other statement may be under
        way. Raises psycopg's errors.
        """
        wire = self._wire or self.wire
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
        return self._checked(results)


class PooledConnection(Connection):
    """For SQLAlchemy's pool."""

    def __del__(self) -> None:  # type: ignore[override]  # without its argument
        # The pool drops a connection whose first statements fail without closing it, and psycopg would
        # warn. libpq closes it with the object.
        return
