"""
The SQL backend for asyncio.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from coatcheck.aio import Bell
from coatcheck.aio.plugin import Backend, PerLoop
from coatcheck.errors import BackendError
from coatcheck.plugin import (
    URL,
    Query,
    ResultMeta,
    Tally,
    Tree,
    Unless,
    batches,
    monotonic,
    tree_of,
)

from . import records, sync, work
from .operations import Row
from .pages import Pages
from .settings import Settings

if TYPE_CHECKING:
    from .asyncio_link import Link

_logger = logging.getLogger("coatcheck")


class SQLBackend(work.Work, Backend[ResultMeta]):
    """As `coatcheck_sql.sync.SQLBackend`, with connections for each event loop. PostgreSQL only."""

    PROTOCOL_VERSION = 1

    def __init__(self, settings: Settings) -> None:
        from .asyncio_link import Link  # noqa: PLC0415 - not everybody has psycopg

        super().__init__(settings)
        self._links: PerLoop[Link] = PerLoop(lambda: Link(settings), Link.close)

    @classmethod
    def from_url(  # type: ignore[override]
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> SQLBackend | sync.SQLBackend:
        """
        Return a backend. If the driver has no asyncio side, it is the synchronous one, which runs in threads.
        """
        settings = Settings(url, options or {}, operation_timeout=operation_timeout)
        return cls(settings) if settings.native_asyncio else sync.SQLBackend(settings)

    @property
    def trouble(self) -> Exception | None:
        return self._links.get().repeats.trouble

    @property
    def polling(self) -> Exception | None:
        return self._links.get().polling

    # -- writing --------------------------------------------------------------------------

    async def put(
        self,
        key: str,
        value: ResultMeta,
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> bool:
        began = monotonic()
        make = self._storing(value, unless, if_match, expires)
        won = await self._links.get().run(make, writing=True)
        await self._sweep(began)
        return won

    async def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        won = await self._links.get().follow(self._storing_many(items, unless, expires))
        await self._sweep(monotonic())
        return won

    async def delete_many(self, keys: Collection[str]) -> int:
        return await self._links.get().follow(work.deleting(keys))

    async def purge(self) -> int:
        return await self._links.get().follow(work.purging())

    async def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        return await self._links.get().follow(work.purging(age))

    async def _sweep(self, began: float) -> None:
        """
        Remove expired records now and then, if the write that *began* then has left time for it.
        """
        link = self._links.get()
        part = link.part_to_sweep(began)
        if part is None:
            return
        try:
            await link.follow(work.sweeping(part))
        except BackendError as error:  # the record is stored; a later write sweeps
            _logger.info("expired records were not removed: %s", error)

    # -- reading --------------------------------------------------------------------------

    async def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        found: dict[str, ResultMeta] = {}
        for batch in batches(dict.fromkeys(keys)):
            rows = await self._links.get().run(work.reading(batch), writing=False)
            found |= self._decoded(rows)
        return found

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return self.find(Query(prefix))

    def find(self, query: Query) -> AsyncIterator[str]:
        return self._each(Pages(query))

    def scan_groups(self) -> AsyncIterator[str]:
        return self._each(Pages(Query(), grouped=True))

    async def _each(self, pages: Pages) -> AsyncIterator[str]:
        while (make := pages.next()) is not None:
            for id_ in pages.came(await self._links.get().run(make, writing=False)):
                yield id_

    async def lives(
        self, keys: Collection[str], *, groups: bool = False
    ) -> dict[str, float | None]:
        return await self._links.get().follow(work.lives(keys, grouped=groups))

    async def tally(self, moments: Sequence[datetime]) -> Tally:
        return await self._links.get().run(work.tallying(moments), writing=False)

    @asynccontextmanager
    async def watch(self, keys: Collection[str] = ()) -> AsyncIterator[Bell]:
        if self._settings.listen is None:
            yield Bell()
            return
        from .asyncio_bell import PostgreSQLBell  # noqa: PLC0415 - as above

        bell = PostgreSQLBell(self._links.get())
        try:
            await bell.add(keys)
            yield bell
        finally:
            await bell.close()

    # -- groups ---------------------------------------------------------------------------

    async def put_group(
        self, group_id: str, task_ids: Sequence[str], *, expires: float | None
    ) -> None:
        await self.put_group_tree(group_id, tree_of(group_id, task_ids), expires=expires)

    async def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        await self._links.get().run(self._storing_group(group_id, tree, expires), writing=True)

    async def get_group(self, group_id: str) -> list[str] | None:
        row = await self._group(group_id)
        return None if row is None else records.decoded_group(group_id, row, self.codec)

    async def get_group_tree(self, group_id: str) -> Tree | None:
        row = await self._group(group_id)
        return None if row is None else records.decoded_tree(group_id, row, self.codec)

    async def _group(self, group_id: str) -> Row | None:
        rows = await self._links.get().run(work.reading([group_id], grouped=True), writing=False)
        return rows[0] if rows else None

    async def delete_group(self, group_id: str) -> bool:
        return await self._links.get().follow(work.deleting([group_id], grouped=True)) > 0

    async def close(self) -> None:
        link = self._links.pop()
        if link is not None:
            await link.close()
