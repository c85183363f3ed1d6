"""
The bell for asyncio: one connection that listens, and a task that reads it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from functools import partial

import psycopg

from coatcheck.aio import Bell
from coatcheck.aio.plugin import tasks
from coatcheck.plugin import monotonic

from .asyncio_bounded import AsyncConnection
from .asyncio_link import Link, look_up
from .deadline import auntil
from .errors import is_refused, mapped
from .listening import PING, PING_AFTER, Listener, connect_arguments

_logger = logging.getLogger("coatcheck")


class PostgreSQLBell(Bell):
    """Listens, and connects again after an error. A ring is only a hint."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self._listener = Listener()
        self._connection: AsyncConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pushing(self) -> bool:
        """Whether the connection listens, and writers notify."""
        return self._connection is not None and self._link.told

    async def add(self, keys: Collection[str]) -> None:
        self._listener.add(keys)
        if self._reader is None:
            await self._open()
            self._reader = tasks.start(self._run(), name="coatcheck-bell")

    async def discard(self, keys: Iterable[str]) -> None:
        self._listener.discard(keys)

    async def wait(self, timeout: float) -> Collection[str]:
        if not self._listener.rings:
            await self._sleep(timeout)
        self._woken.clear()
        return self._listener.take()

    async def close(self) -> None:
        """Stop listening."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            # At once, and without a word: this may be cancelled at any wait.
            connection.pgconn.finish()
        if reader is not None:
            await asyncio.wait([reader])

    # -- the task that reads ---------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            if self._connection is None:
                await asyncio.sleep(self._listener.backoff.left)
                if await self._open():
                    self._ring_all()
            if self._connection is not None:
                await self._listen(self._connection)

    async def _open(self) -> bool:
        """Connect and listen; whether it was done."""
        try:
            connection = await auntil(self._end_of_try(), self._connected)
        except (psycopg.Error, OSError) as error:
            self._fail(error)
            return False
        self._connection = connection
        self._listener.opened(connection.letters)
        self._link.polling = None
        return True

    def _end_of_try(self) -> float:
        return monotonic() + self._link.settings.operation_timeout / 2

    async def _connected(self) -> AsyncConnection:
        url = self._link.settings.listen
        await look_up(url)
        positional, named = connect_arguments(url)
        connection = await AsyncConnection.connect(*positional, **named, autocommit=True)
        try:
            await connection.begin(self._link.limits)
            await connection.execute(f'LISTEN "{self._link.channel}"')
        except BaseException:
            connection.pgconn.finish()
            raise
        return connection

    async def _listen(self, connection: AsyncConnection) -> None:
        """Read notifications, and ask for a sign of life after a long silence."""
        try:
            for payload in connection.heard():
                if self._listener.heard(payload):
                    self._woken.set()
            if not await auntil(monotonic() + PING_AFTER, connection.is_talkative):
                await auntil(self._end_of_try(), partial(connection.ask, PING, {}))
        except (psycopg.Error, OSError) as error:
            self._connection = None
            connection.pgconn.finish()
            self._fail(error)
            self._ring_all()  # from now on waits poll

    def _ring_all(self) -> None:
        self._listener.ring_all()
        self._woken.set()

    def _fail(self, error: Exception) -> None:
        ours = mapped(error, self._link.settings.label, writing=False)
        _logger.info("nobody listens, polling for now: %s", ours)
        self._link.polling = ours
        self._listener.backoff.failed(refused=is_refused(error))
