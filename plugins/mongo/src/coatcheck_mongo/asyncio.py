"""
The MongoDB backend for asyncio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from inspect import isasyncgenfunction, unwrap
from typing import TYPE_CHECKING, Any

import pymongo

from coatcheck.aio import Bell
from coatcheck.aio.plugin import DrivenBackend, PerLoop
from coatcheck.plugin import URL, Query, ResultMeta, Tally

from . import commands, scans, sync
from .appending import MongoLogs
from .requests import Try
from .settings import Settings

if TYPE_CHECKING:
    from .asyncio_link import Link


def has_asyncio() -> bool:
    """
    Return whether the driver has a side for asyncio that can be closed while a loop ends.

    It has had one since pymongo 4.9. Before 4.18 closing starts an asynchronous generator, and a loop that
    ends warns about it.
    """
    client = getattr(pymongo, "AsyncMongoClient", None)
    opening = getattr(client, "_conn_from_server", None)
    return client is not None and not (opening and isasyncgenfunction(unwrap(opening)))


class MongoBackend(MongoLogs, DrivenBackend[ResultMeta]):
    """The operations, by a client for each event loop."""

    PROTOCOL_VERSION = 1

    def __init__(self, settings: Settings) -> None:
        from .asyncio_link import Link  # noqa: PLC0415 - older drivers lack its imports

        super().__init__(settings)
        self._links: PerLoop[Link] = PerLoop(lambda: Link(settings), Link.close)

    @classmethod
    def from_url(  # type: ignore[override]
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> MongoBackend | sync.MongoBackend:
        """
        Return a backend. With a driver whose side for asyncio is not good enough it is the synchronous one,
        which runs in threads.
        """
        settings = Settings(url, options or {}, operation_timeout=operation_timeout)
        return cls(settings) if has_asyncio() else sync.MongoBackend(settings)

    @property
    def _link(self) -> Link:
        return self._links.get()

    async def _ask(self, request: Try) -> Any:
        return await self._links.get().ask(request)

    async def purge(self) -> int:
        return await self._link.run(self._purge(commands.IS_EXPIRED))

    async def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        return await self._link.run(self._purge(commands.is_older(age)))

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return self.find(Query(prefix))

    def find(self, query: Query) -> AsyncIterator[str]:
        return self._each(query, groups=False)

    def scan_groups(self) -> AsyncIterator[str]:
        return self._each(Query(), groups=True)

    async def _each(self, query: Query, *, groups: bool) -> AsyncIterator[str]:
        page, last = await self._link.run(self._page(query, query.after, groups=groups))
        while True:
            for id_ in page:
                yield id_
            if last is None:
                return
            page, last = await self._link.run(self._page(query, last, groups=groups))

    async def lives(
        self, keys: Collection[str], *, groups: bool = False
    ) -> dict[str, float | None]:
        return await self._link.run(self._lives(keys, groups=groups))

    async def tally(self, moments: Sequence[datetime]) -> Tally:
        command = scans.tally(self._settings.tasks, moments)
        return scans.counted(await self._ask(Try(command, writing=False)))

    @asynccontextmanager
    async def watch(self, keys: Collection[str] = ()) -> AsyncIterator[Bell]:
        from .asyncio_bell import MongoBell  # noqa: PLC0415 - as above

        bell = MongoBell(self._link)
        try:
            await bell.open()
            await bell.add(keys)
            yield bell
        finally:
            await bell.close()

    async def put_group(
        self, group_id: str, task_ids: Sequence[str], *, expires: float | None
    ) -> None:
        await self._link.run(self._put_group(group_id, task_ids, expires))

    async def get_group(self, group_id: str) -> list[str] | None:
        return await self._link.run(self._get_group(group_id))

    async def delete_group(self, group_id: str) -> bool:
        return await self._link.run(self._delete_group(group_id))

    async def close(self) -> None:
        link = self._links.pop()
        if link is not None:
            await link.close()
