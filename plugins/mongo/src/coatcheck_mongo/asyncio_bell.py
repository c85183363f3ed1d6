"""
The bell for asyncio: one change stream, and a task that reads it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from typing import Any

import pymongo
from pymongo import errors

from coatcheck.aio import Bell
from coatcheck.aio.plugin import tasks

from .asyncio_link import Link
from .stream import LAG, Listener, TooManyEvents

_logger = logging.getLogger("coatcheck")


class MongoBell(Bell):
    """
    Listens to what becomes ready, whoever waits for it; what rings is only a hint.
    """

    unready = False

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        settings = link.settings
        self.lag = 0.0 if settings.durable else LAG
        self._listener = Listener(limit=settings.push_limit, label=settings.label)
        self._stream: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._pause = 0.0

    @property
    def pushing(self) -> bool:
        """
        Whether the stream is live.
        """
        return self._stream is not None

    async def open(self) -> None:
        """
        Open the stream, and have it read from now on. A stream that cannot be opened is tried again
        in the background.
        """
        if not self._link.settings.push:
            return
        await self._try_to_open()
        self._reader = tasks.start(self._run(), name="coatcheck-stream")

    async def add(self, keys: Collection[str]) -> None:
        self._listener.keys.update(keys)
        self._link.awaited.update(keys)

    async def discard(self, keys: Iterable[str]) -> None:
        gone = set(keys)
        self._listener.keys.difference_update(gone)
        self._link.awaited.difference_update(gone)

    async def wait(self, timeout: float) -> Collection[str]:
        if not self._listener.rang:
            await self._sleep(timeout)
        self._woken.clear()
        return self._listener.take()

    async def close(self) -> None:
        """
        End the stream.
        """
        self._link.awaited.difference_update(self._listener.keys)
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
        await self._drop()

    # -- what goes on by itself -----------------------------------------------------------

    async def _run(self) -> None:
        while True:
            if self._stream is None:
                await asyncio.sleep(self._pause)
                await self._try_to_open(ring=True)
            if self._stream is not None:
                await self._listen()

    async def _try_to_open(self, *, ring: bool = False) -> None:
        lost = self._listener.token is None
        try:
            self._stream = await self._link.open_stream(self._listener.token)
        except (errors.PyMongoError, OSError) as error:
            self._fail(error)
            return
        self._listener.opened()
        self._listener.token = self._stream.resume_token or self._listener.token
        self._link.polling = None
        if ring and lost:
            self._listener.ring_all()
            self._woken.set()

    async def _listen(self) -> None:
        try:
            with pymongo.timeout(self._link.patience):
                event = await self._link.apart.run(self._stream.try_next, stop=True)
            self._listener.token = self._stream.resume_token
            if event is not None and self._listener.heard(event):
                self._woken.set()
            self._listener.check_rate()
            if not self._stream.alive:  # the collection was dropped, and its indexes with it
                self._link.indexed.clear()
                raise errors.OperationFailure("the change stream was invalidated", 260)
        except (errors.PyMongoError, OSError, TooManyEvents) as error:
            await self._drop()
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        reason, self._pause = self._listener.failed(error)
        _logger.info("no push, polling for now: %s", reason)
        self._link.polling = reason
        # Whoever relied on rings looks from now on.
        self._listener.ring_all()
        self._woken.set()

    async def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                with pymongo.timeout(self._link.patience):
                    await self._link.apart.run(stream.close)
            except (errors.PyMongoError, OSError) as error:
                _logger.debug("the change stream was not closed: %s", error)
