"""
The SQL backend for asyncio.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from coatcheck import Capability
from coatcheck.aio import Bell
from coatcheck.aio.plugin import Backend, PerLoop
from coatcheck.errors import BackendError, BackendUnavailableError
from coatcheck.plugin import (
    BATCH,
    URL,
    Portions,
    ResultMeta,
    Tree,
    Unless,
    Writing,
    batches,
    monotonic,
    tree_of,
)

from . import records, sync, work
from .operations import Operation
from .settings import Settings
from .sync import CAPABILITIES

if TYPE_CHECKING:
    from .asyncio_link import Link

_logger = logging.getLogger("coatcheck")


class SQLBackend(Backend[ResultMeta]):
    """
    As `coatcheck_sql.sync.SQLBackend`, with connections for each event loop. PostgreSQL alone.
    """

    PROTOCOL_VERSION = 1
    keeps_others = True
    capabilities = CAPABILITIES

    def __init__(self, settings: Settings) -> None:
        from .asyncio_link import Link  # noqa: PLC0415 - not everybody has psycopg

        self._settings = settings
        self._portions = Portions()
        self._links: PerLoop[Link] = PerLoop(lambda: Link(settings), Link.close)
        self.max_value_bytes = settings.dialect.largest
        if settings.listen is not None:
            self.capabilities = CAPABILITIES | Capability.PUSH

    @classmethod
    def from_url(  # type: ignore[override]
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> SQLBackend | sync.SQLBackend:
        """
        Return a backend; for drivers without a side for asyncio the sync one, which runs in
        threads.
        """
        settings = Settings(url, options or {}, operation_timeout=operation_timeout)
        return cls(settings) if settings.native_asyncio else sync.SQLBackend(settings)

    @property
    def trouble(self) -> Exception | None:
        """
        The error for which an operation is being repeated just now.
        """
        return self._links.get().trouble

    @property
    def polling(self) -> Exception | None:
        """
        See `coatcheck_sql.sync.SQLBackend.polling`; for the running loop.
        """
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
        encode = work.Encoder(self.codec, self.max_value_bytes, [value])
        if if_match is None:
            make = partial(work.store, encode=encode, unless=unless, expires=expires)
            won = await self._links.get().run(make, writing=True)
        else:
            version = if_match.version
            make = partial(work.store_over, encode=encode, version=version, expires=expires)
            won = await self._links.get().run(make, writing=True)
        await self._sweep(began)
        return won

    async def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        link = self._links.get()
        # All are encoded before any is sent.
        encode = work.Encoder(self.codec, self.max_value_bytes, [meta for _, meta in items])
        all_ = await link.run(partial(work.encode, encode=encode), writing=True)
        first, later = records.first_and_later(all_)
        won: set[str | None] = set()
        most = self._settings.dialect.portion
        writing = Writing(self._portions, first, records.size_of, most=most)
        while portion := writing.next():
            make = partial(work.store_many, records=portion, unless=unless, expires=expires)
            try:
                stored = await link.run(make, writing=True)
            except BackendUnavailableError as error:
                writing.failed(error)
            else:
                writing.went()
                won |= stored
        for record in later:
            again = partial(work.store_record, record=record, unless=unless, expires=expires)
            if await link.run(again, writing=True):
                won.add(record.write_id)
        await self._sweep(monotonic())
        return [record.write_id in won for record in all_]

    async def delete_many(self, keys: Collection[str]) -> int:
        deleted, link = 0, self._links.get()
        for batch in batches(dict.fromkeys(keys)):
            deleted += await link.run(partial(work.delete, ids=batch), writing=True)
        return deleted

    async def purge(self) -> int:
        return await self._purge(work.purge)

    async def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        return await self._purge(partial(work.purge_others, age=age))

    async def _purge(self, portion: Callable[..., Operation[int]]) -> int:
        purged, link = 0, self._links.get()
        for grouped in (False, True):
            make = partial(portion, grouped=grouped)
            while removed := await link.run(make, writing=True):
                purged += removed
        return purged

    async def _sweep(self, began: float) -> None:
        """
        Remove expired records now and then, if the write that *began* then has left time for it.
        """
        link = self._links.get()
        part = link.part_to_sweep(began)
        if part is None:
            return
        try:
            for grouped in (False, True):
                make = partial(work.purge, grouped=grouped)
                await link.run(make, writing=True, part=part)
        except BackendError as error:  # what was stored is stored; a later write sweeps
            _logger.info("expired records were not removed: %s", error)

    # -- reading --------------------------------------------------------------------------

    async def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        found: dict[str, ResultMeta] = {}
        for batch in batches(dict.fromkeys(keys)):
            make = partial(work.read, ids=batch)
            rows = await self._links.get().run(make, writing=False)
            found.update(work.metas(rows, self.codec, self._settings))
        return found

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return self._scan(prefix, None)

    def scan_state(self, state: str, prefix: str = "") -> AsyncIterator[str]:
        return self._scan(prefix, state)

    async def _scan(self, prefix: str, state: str | None) -> AsyncIterator[str]:
        last = -(2**63)
        while True:
            make = partial(work.page, last=last, size=BATCH, state=state)
            found, last, more = await self._links.get().run(make, writing=False)
            for id_ in found:
                if id_.startswith(prefix):
                    yield id_
            if not more:
                return

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
        make = partial(
            work.store_group, group_id=group_id, tree=tree, codec=self.codec,
            limit=self.max_value_bytes, expires=expires,
        )  # fmt: skip
        await self._links.get().run(make, writing=True)

    async def get_group(self, group_id: str) -> list[str] | None:
        row = await self._group(group_id)
        return None if row is None else records.decoded_group(group_id, row, self.codec)

    async def get_group_tree(self, group_id: str) -> Tree | None:
        row = await self._group(group_id)
        return None if row is None else records.decoded_tree(group_id, row, self.codec)

    async def _group(self, group_id: str) -> Mapping[str, Any] | None:
        make = partial(work.read, ids=[group_id], grouped=True)
        rows = await self._links.get().run(make, writing=False)
        return rows[0] if rows else None

    async def delete_group(self, group_id: str) -> bool:
        make = partial(work.delete, ids=[group_id], grouped=True)
        return await self._links.get().run(make, writing=True) > 0

    async def close(self) -> None:
        link = self._links.pop()
        if link is not None:
            await link.close()
