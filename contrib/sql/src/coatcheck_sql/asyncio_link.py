"""
As `link`, for one event loop.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection as Lent
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from coatcheck.aio.plugin import Apart, lookups, tasks
from coatcheck.plugin import Attempts, adrive, monotonic

from .asyncio_bounded import AsyncConnection
from .deadline import auntil, left
from .engines import looked_up_host, options_of
from .link_base import LinkBase, T
from .operations import Ask, Operation
from .schema import Layout
from .settings import Settings
from .work import Make, Steps

#: How long a connection counts as good after it was used, in seconds.
_WARM: Final = 5.0


class Warm:
    """
    A connection that passes from one operation to the next without a visit to SQLAlchemy's pool.
    """

    __slots__ = ("connection", "driver", "used")

    def __init__(self, connection: Any, driver: Any) -> None:
        self.connection = connection
        #: The driver's connection, which runs an `Ask`.
        self.driver = driver
        #: On the monotonic clock.
        self.used = monotonic()

    def is_good(self, lost: float) -> bool:
        """Return whether it was used a moment ago, and after another one was *lost*."""
        return self.used > max(lost, monotonic() - _WARM)


class Link(LinkBase):
    """As `coatcheck_sql.link.Link`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._looking = asyncio.Lock()
        self._engine: AsyncEngine | None = None
        self._warm: list[Warm] = []
        #: How many connections may stay out of SQLAlchemy's pool.
        self._most_warm = settings.max_connections // 2
        self._apart = Apart()

    def engine(self) -> AsyncEngine:
        """Return the engine, which connects when it is used."""
        if self._engine is None:
            options = options_of(self.settings, self.limits)
            connect_args = options.pop("connect_args")
            url, limits = self.settings.url, self.limits

            async def connect() -> AsyncConnection:
                await look_up(url)
                positional, named = engine.dialect.create_connect_args(url)
                connection = await AsyncConnection.connect(*positional, **{**named, **connect_args})
                try:
                    await connection.begin(limits)
                except BaseException:
                    connection.pgconn.finish()
                    raise
                return connection

            engine = create_async_engine(url, async_creator=connect, **options)
            self._engine = engine
        return self._engine

    async def run(self, make: Make[T], *, writing: bool, part: float = 1.0) -> T:
        """
        See `coatcheck_sql.link.Link.run`.

        A caller that is cancelled goes at once. The try that was begun comes to its own end, which is
        bounded, so the connection is not lost.
        """
        return await self.repeats.arun(
            partial(self._try, make, writing), writing=writing, part=part
        )

    async def follow(self, steps: Steps[T]) -> T:
        """See `coatcheck_sql.link.Link.follow`."""
        return await adrive(
            steps, lambda asked: self.run(asked.make, writing=asked.writing, part=asked.part)
        )

    async def _try(self, make: Make[T], writing: bool, attempts: Attempts) -> T:  # noqa: FBT001
        return await auntil(self.deadline(attempts), partial(self._act, make, writing))

    async def _act(self, make: Make[T], writing: bool) -> T:  # noqa: FBT001 - as above
        operation = self.made(make, writing=writing)
        if not self.is_direct(operation):
            return await self._apart.run(partial(self._do, make, operation, writing))
        if self._warm and self._warm[-1].is_good(self.known.lost):
            return await self._ask_at_once(operation)  # which needs no task of its own
        return await self._apart.run(partial(self._ask, operation))

    async def _do(self, make: Make[T], operation: Operation[T] | None, writing: bool) -> T:  # noqa: FBT001
        engine = self.engine()
        async with engine.connect() as connection:
            try:
                if operation is None:
                    operation = make(await self._look(connection, writing))
                result = await connection.run_sync(partial(self.perform, operation))
            except BaseException:
                await connection.invalidate()
                raise
            if self._engine is not engine:  # closed meanwhile
                await connection.invalidate()
            return result

    async def _ask(self, ask: Ask[T]) -> T:
        engine = self.engine()
        warm = await self._warmed() or await self._warmth(engine)
        try:
            found = await warm.driver.ask(ask.statement, ask.given)
        except BaseException as error:
            await self._lose(warm, engine, error)
            raise
        await self._keep(warm, engine)
        return ask.answer(found)

    async def _ask_at_once(self, ask: Ask[T]) -> T:
        engine, warm = self.engine(), self._warm.pop()
        try:
            found = await warm.driver.ask(ask.statement, ask.given)
        except asyncio.CancelledError:
            self._apart.leave(tasks.start(self._finish(warm, engine)))
            raise
        except BaseException as error:
            await self._apart.run(partial(self._lose, warm, engine, error))
            raise
        if self._engine is engine and len(self._warm) < self._most_warm:
            warm.used = monotonic()
            self._warm.append(warm)
        else:
            await self._apart.run(partial(self._keep, warm, engine))
        return ask.answer(found)

    async def _finish(self, warm: Warm, engine: AsyncEngine) -> None:
        """Take in the answer that whoever was cancelled has not waited for."""
        try:
            await warm.driver.answer()
        except BaseException as error:
            await self._lose(warm, engine, error)
            raise
        await self._keep(warm, engine)

    async def _lose(self, warm: Warm, engine: AsyncEngine, error: BaseException) -> None:
        """Throw away a connection after *error*. Raises SQLAlchemy's for one of the driver's."""
        if isinstance(error, psycopg.Error):
            lent = (await warm.connection.get_raw_connection()).dbapi_connection
            translated = self._translated(engine.sync_engine, lent, error)
            await self._cool(warm)
            raise translated from error
        await self._cool(warm)

    async def _warmth(self, engine: AsyncEngine) -> Warm:
        connection = await engine.connect()
        lent = await connection.get_raw_connection()
        return Warm(connection, lent.driver_connection)

    async def _warmed(self) -> Warm | None:
        while self._warm:
            warm = self._warm.pop()
            if warm.is_good(self.known.lost):
                return warm
            await warm.connection.close()
        return None

    async def _keep(self, warm: Warm, engine: AsyncEngine) -> None:
        if self._engine is not engine:  # closed meanwhile
            await self._cool(warm)
        elif len(self._warm) < self._most_warm:
            warm.used = monotonic()
            self._warm.append(warm)
        else:
            await warm.connection.close()

    async def _cool(self, warm: Warm) -> None:
        await warm.connection.invalidate()
        await warm.connection.close()

    async def _look(self, connection: Lent, writing: bool) -> Layout:  # noqa: FBT001
        """Look the tables up, one task at a time: of many first writes one makes the tables."""
        async with asyncio.timeout(max(left(), 0.0)), self._looking:
            layout = self.known.tables(writing=writing)
            if layout is None:
                layout = await connection.run_sync(partial(self.known.look, writing=writing))
            return layout

    async def close(self) -> None:
        """Close the connections; the next operation opens new ones."""
        await self._apart.wait(self.settings.operation_timeout)
        engine, self._engine = self._engine, None
        while self._warm:
            await self._warm.pop().connection.close()
        if engine is not None:
            await engine.dispose()


async def look_up(url: sa.URL | None) -> None:
    """See `coatcheck_sql.link.looked_up_host`."""
    host = looked_up_host(url)
    if url is not None and host is not None:
        await lookups.addresses(host, url.port or 0, left())
