"""
As `bounded`, for asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import waiting

from coatcheck.plugin import monotonic

from .bounded import INTERVAL, Bounded, Late, bounded, seconds_left
from .deadline import auntil
from .limits import Limits
from .wire import Statement

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

T = TypeVar("T")


class AsyncConnection(Bounded, psycopg.AsyncConnection[Any]):
    """For asyncio."""

    async def wait(  # type: ignore[override]  # as above
        self, gen: Any, interval: float = INTERVAL, **options: Any
    ) -> Any:
        """See psycopg."""

        async def receive(*, again: bool) -> Any:
            waits, soon = bounded(gen, again=again), min(interval, INTERVAL)
            return await waiting.wait_async(waits, self.pgconn.socket, soon, **options)

        return await self._received(receive)

    async def _received(self, receive: Callable[..., Awaitable[T]]) -> T:
        """See `Connection._received`. A caller that is cancelled leaves the answer to `answer`."""
        try:
            return await receive(again=False)
        except Late:
            return await auntil(monotonic() + self.giving_up, partial(self._give_up, receive))

    async def _give_up(self, receive: Callable[..., Awaitable[T]]) -> T:
        try:
            await self._cancel()
            return await receive(again=True)
        finally:
            if self._is_busy():
                self.pgconn.finish()

    async def _cancel(self) -> None:
        if psycopg.capabilities.has_cancel_safe():
            with suppress(psycopg.Error):
                await self.cancel_safe(timeout=self.giving_up)

    async def is_talkative(self) -> bool:
        """
        Wait until the server sends something. Return `False` if it did not before the deadline.
        """
        try:
            await _until_ready(self.pgconn.socket)
        except Late:
            return False
        return True

    async def begin(self, limits: Limits) -> None:
        """See `Connection.begin`."""
        beginning = self._beginning(limits)
        statement, given = next(beginning)
        with suppress(StopIteration):
            while True:
                statement, given = beginning.send(await self.ask(statement, given))

    async def ask(self, statement: Statement, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        """See `Connection.ask`."""
        wire = self._wire or self.wire
        if wire.is_due(statement):
            wire.prepare(statement)
            await self.answer()
            wire.prepared(statement)
        wire.send(statement, given)
        return statement.rows(await self.answer(), wire.encoding)

    async def answer(self) -> PGresult:
        """Wait for the answer to the statement that was sent. Raises psycopg's errors."""
        return await self._received(partial(self._receive, []))

    async def _receive(self, results: list[PGresult], **_: bool) -> PGresult:
        pgconn, wire = self.pgconn, self.wire
        while pgconn.flush():
            await _until_ready(pgconn.socket, write=True)
            pgconn.consume_input()
        while not wire.is_over(results):
            await _until_ready(pgconn.socket)
            pgconn.consume_input()
        return self._checked(results)


async def _until_ready(socket: int, *, write: bool = False) -> None:
    """As `bounded.pause`."""
    loop, seconds = asyncio.get_running_loop(), seconds_left()
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
