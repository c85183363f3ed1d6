"""
Connections of psycopg that keep to a deadline, whatever the server does.

libpq has no timeout of its own for a server that takes a statement and never answers.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final, TypeVar

import psycopg

from .deadline import left

T = TypeVar("T")

#: How often a wait looks at the deadline, in seconds.
_INTERVAL: Final = 0.05


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
