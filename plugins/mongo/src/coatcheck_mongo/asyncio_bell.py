"""
The bell for asyncio: one change stream, and a task that reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Any

import pymongo

from coatcheck.aio import Bell
from coatcheck.aio.plugin import tasks
from coatcheck.plugin import adrive

from .asyncio_link import Link
from .errors import ERRORS
from .stream import Call, Feed, Life, Pause


class MongoBell(Bell):
    """Rings when a record becomes ready."""

    unready = False

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self._feed = Feed(link, self.wake)
        self.lag = self._feed.lag
        self._reader: asyncio.Task[None] | None = None

    @property
    def pushing(self) -> bool:
        return self._feed.stream is not None

    async def open(self) -> None:
        """Open the stream, and start to read it. If it cannot be opened, the task tries again."""
        if self._link.settings.push:
            await self._drive(self._feed.open())
            self._reader = tasks.start(self._drive(self._feed.live()), name="coatcheck-stream")

    async def add(self, keys: Collection[str]) -> None:
        self._feed.add(keys)

    async def discard(self, keys: Iterable[str]) -> None:
        self._feed.discard(keys)

    async def wait(self, timeout: float) -> Collection[str]:
        if not self._feed.rang:
            await self._sleep(timeout)
        self._woken.clear()
        return self._feed.take()

    async def close(self) -> None:
        """End the stream."""
        self._feed.end()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
        await self._drive(self._feed.drop())

    async def _drive(self, life: Life) -> None:
        await adrive(life, self._do, ERRORS)

    async def _do(self, step: Call | Pause) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        with pymongo.timeout(self._link.patience):
            return await self._link.apart.run(step.act, stop=step.stop)
