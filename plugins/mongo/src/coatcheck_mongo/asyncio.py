"""
The MongoDB backend for asyncio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from inspect import isasyncgenfunction, unwrap
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo.errors import BulkWriteError

from coatcheck import Capability
from coatcheck.aio import Backend, Bell
from coatcheck.aio.plugin import PerLoop
from coatcheck.errors import BackendUnavailableError
from coatcheck.plugin import BATCH, URL, Portions, ResultMeta, Unless, Writing, batches

from . import answers, commands, records, sync
from .answers import MAX_VALUE_BYTES
from .records import Record
from .settings import Settings
from .sync import CAPABILITIES

if TYPE_CHECKING:
    from .asyncio_link import Link


def has_asyncio() -> bool:
    """
    Whether the driver has a side for asyncio that can be closed while a loop ends.

    It has had one since pymongo 4.9. Before 4.18 closing begins an asynchronous generator, of which a
    loop that ends warns.
    """
    client = getattr(pymongo, "AsyncMongoClient", None)
    opening = getattr(client, "_conn_from_server", None)
    return client is not None and not (opening and isasyncgenfunction(unwrap(opening)))


class MongoBackend(Backend[ResultMeta]):
    """
    As `coatcheck_mongo.sync.MongoBackend`, with a client for each event loop.
    """

    PROTOCOL_VERSION = 1
    keeps_others = True
    capabilities = CAPABILITIES
    max_value_bytes = MAX_VALUE_BYTES

    def __init__(self, settings: Settings) -> None:
        from .asyncio_link import Link  # noqa: PLC0415 - not every driver has what it needs

        self._settings = settings
        self._portions = Portions()
        self._links: PerLoop[Link] = PerLoop(lambda: Link(settings), Link.close)
        if not settings.push:
            self.capabilities = CAPABILITIES & ~Capability.PUSH

    @classmethod
    def from_url(  # type: ignore[override]
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> MongoBackend | sync.MongoBackend:
        """
        Return a backend; for a driver whose side for asyncio is not good enough the sync one, which
        runs in threads.
        """
        settings = Settings(url, options or {}, operation_timeout=operation_timeout)
        return cls(settings) if has_asyncio() else sync.MongoBackend(settings)

    @property
    def trouble(self) -> Exception | None:
        """
        The error for which an operation is being repeated just now.
        """
        return self._links.get().repeats.trouble

    @property
    def polling(self) -> Exception | None:
        """
        See `coatcheck_mongo.sync.MongoBackend.polling`; for the running loop.
        """
        return self._links.get().polling

    @property
    def unindexed(self) -> Exception | None:
        """
        See `coatcheck_mongo.sync.MongoBackend.unindexed`; for the running loop.
        """
        return self._links.get().unindexed

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
        new, end = self._links.get().as_new(value, expires) if if_match is None else (False, None)
        record = records.encoded(value, self.codec, self.max_value_bytes, end)
        if if_match is None:
            update = partial(commands.store, record.body, unless, expires)
        else:
            update = partial(commands.store_over, if_match.version, record.body, expires)
        return await self._put(record, update, upsert=if_match is None, new=new)

    async def _put(
        self,
        record: Record,
        update: Callable[[], commands.Pipeline],
        *,
        upsert: bool,
        new: bool = False,
    ) -> bool:
        link, name, id_ = self._links.get(), self._settings.tasks, record.task_id

        async def act() -> bool:
            if new and await link.insert_one(name, record):
                return True
            return await link.update_one(name, id_, update(), upsert=upsert)

        return await link.run(act, writing=True) or bool(await self._found([record]))

    async def _found(self, written: Sequence[Record]) -> set[str]:
        """
        Return the ids of those of *written* that are in the store: they were stored by an earlier
        try, whose reply was lost.
        """
        link = self._links.get()
        tasks = link.collection(self._settings.tasks, primary=True)
        query = answers.own(written)
        found = await link.run(lambda: tasks.find(query, {"_id": 1}).to_list(), writing=True)
        return {document["_id"] for document in found}

    async def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        metas = [meta for _, meta in items]
        first, later = answers.split(metas)
        encode = partial(records.encoded, codec=self.codec, limit=self.max_value_bytes)
        writing = Writing(self._portions, map(encode, first.values()), records.size_of)
        won: set[str] = set()
        while written := writing.next():
            try:
                won |= await self._put_batch(written, unless, expires)
            except BackendUnavailableError as error:
                writing.failed(error)
            else:
                writing.went()
        stored = {first[id_].write_id for id_ in won}
        for record in map(encode, later):
            update = partial(commands.store, record.body, unless, expires)
            if await self._put(record, update, upsert=True):
                stored.add(record.write_id)
        return [meta.write_id in stored for meta in metas]

    async def _put_batch(
        self, written: list[Record], unless: Unless, expires: float | None
    ) -> set[str]:
        """
        Return the ids of those that are the record.
        """
        link, updates = self._links.get(), answers.updates(written, unless, expires)

        async def act() -> list[Record]:
            tasks = await link.ready(self._settings.tasks)
            try:
                result = await tasks.bulk_write(updates, ordered=False)
            except BulkWriteError as error:
                for record in answers.met(error, written):
                    update = commands.store(record.body, unless, expires)
                    await tasks.update_one({"_id": record.task_id}, update, upsert=True)
                return written
            return answers.unsettled(result, written)

        unsettled = await link.run(act, writing=True)
        won = {record.task_id for record in written} - {r.task_id for r in unsettled}
        return won | await self._found(unsettled) if unsettled else won

    async def delete_many(self, keys: Collection[str]) -> int:
        return await self._delete(self._settings.tasks, keys)

    async def _delete(self, name: str, ids: Collection[str]) -> int:
        deleted, link = 0, self._links.get()
        for batch in batches(ids):
            query = commands.alive(batch)
            collection = link.collection(name)
            result = await link.run(partial(collection.delete_many, query), writing=True)
            deleted += result.deleted_count
        return deleted

    async def purge(self) -> int:
        tasks = await self._purge(self._settings.tasks, commands.IS_EXPIRED)
        return tasks + await self._purge(self._settings.groups, commands.IS_EXPIRED)

    async def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        tasks = await self._purge(self._settings.tasks, commands.is_older(age))
        return tasks + await self._purge(self._settings.groups, commands.is_older(age))

    async def _purge(self, name: str, which: dict[str, Any]) -> int:
        purged, link = 0, self._links.get()
        collection = link.collection(name)
        while True:
            found = await link.run(
                lambda: collection.find(which, {"_id": 1}, limit=BATCH).to_list(),
                writing=True,
            )
            if not found:
                return purged
            query = {"_id": {"$in": [d["_id"] for d in found]}, **which}
            result = await link.run(partial(collection.delete_many, query), writing=True)
            purged += result.deleted_count

    # -- reading --------------------------------------------------------------------------

    async def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        codec, name = self.codec, self._settings.tasks
        if len(keys) == 1:  # most often, so it is to take the short way
            documents = await self._read(name, list(keys))
        else:
            documents = []
            for batch in batches(dict.fromkeys(keys)):
                documents += await self._read(name, batch)
        return {document["_id"]: records.decoded(document, codec) for document in documents}

    async def _read(self, name: str, ids: list[str]) -> list[dict[str, Any]]:
        """
        Return the documents that have not expired.
        """
        link = self._links.get()
        primary = link.is_awaited(ids)
        if len(ids) == 1:
            found = await link.run(
                lambda: link.find_one(name, ids[0], primary=primary), writing=False
            )
        else:
            query = {"_id": {"$in": ids}}
            found = await link.run(lambda: link.find(name, query, primary=primary), writing=False)
        sure, doubtful = answers.living(found, link.clock)
        if doubtful:
            query = commands.alive(doubtful)
            sure += await link.run(lambda: link.find(name, query, primary=primary), writing=False)
        return sure

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return self._scan(prefix, None)

    def scan_state(self, state: str, prefix: str = "") -> AsyncIterator[str]:
        return self._scan(prefix, state)

    async def _scan(self, prefix: str, state: str | None) -> AsyncIterator[str]:
        # In the order of the ids, which stay as they are while states change.
        start, inclusive = prefix, True
        while True:
            query = commands.starting_with(start, inclusive=inclusive, state=state)
            found = await self._links.get().run(partial(self._page, query), writing=False)
            for document in found:
                if not document["_id"].startswith(prefix):
                    return
                yield document["_id"]
            if len(found) < BATCH:
                return
            start, inclusive = found[-1]["_id"], False

    async def _page(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        tasks = self._links.get().collection(self._settings.tasks)
        return await tasks.find(query, {"_id": 1}, limit=BATCH).sort("_id", 1).to_list()

    @asynccontextmanager
    async def watch(self, keys: Collection[str] = ()) -> AsyncIterator[Bell]:
        from .asyncio_bell import MongoBell  # noqa: PLC0415 - as above

        bell = MongoBell(self._links.get())
        try:
            await bell.open()
            await bell.add(keys)
            yield bell
        finally:
            await bell.close()

    # -- groups ---------------------------------------------------------------------------

    async def put_group(
        self, group_id: str, task_ids: Sequence[str], *, expires: float | None
    ) -> None:
        record = records.encoded_group(group_id, task_ids, self.codec, self.max_value_bytes)
        update = commands.store(record.body, frozenset(), expires)
        link, name = self._links.get(), self._settings.groups
        await link.run(lambda: link.update_one(name, group_id, update, upsert=True), writing=True)

    async def get_group(self, group_id: str) -> list[str] | None:
        found = await self._read(self._settings.groups, [group_id])
        return records.decoded_group(found[0], self.codec) if found else None

    async def delete_group(self, group_id: str) -> bool:
        return await self._delete(self._settings.groups, [group_id]) > 0

    async def close(self) -> None:
        link = self._links.pop()
        if link is not None:
            await link.close()
