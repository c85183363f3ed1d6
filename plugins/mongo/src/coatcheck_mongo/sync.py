"""
The MongoDB backend for synchronous code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Self

from pymongo.errors import BulkWriteError

from coatcheck import Bell, Capability
from coatcheck.errors import BackendUnavailableError
from coatcheck.plugin import BATCH, URL, Backend, Portions, ResultMeta, Unless, Writing, batches

from . import answers, commands, records
from .answers import MAX_VALUE_BYTES
from .bell import MongoBell
from .celerysettings import celery_options
from .link import Link
from .records import Record
from .settings import Settings

CAPABILITIES: Final = Capability.PUSH | Capability.TTL | Capability.SCAN | Capability.SHARED


class MongoBackend(Backend[ResultMeta]):
    """
    Records as documents, written by an update that elects the first ready one.
    """

    PROTOCOL_VERSION = 1
    keeps_others = True
    capabilities = CAPABILITIES
    max_value_bytes = MAX_VALUE_BYTES

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._portions = Portions()
        self._link = Link(settings)
        if not settings.push:
            self.capabilities = CAPABILITIES & ~Capability.PUSH

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        return cls(Settings(url, options or {}, operation_timeout=operation_timeout))

    @classmethod
    def celery_options(cls, url: URL, settings: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return celery_options(url, settings)

    @property
    def trouble(self) -> Exception | None:
        """
        The error for which an operation is being repeated just now.
        """
        return self._link.repeats.trouble

    @property
    def polling(self) -> Exception | None:
        """
        Why waits look by themselves, such as a server without change streams, or too many events;
        `None` while they are woken, and before the first of them.
        """
        return self._link.polling

    @property
    def unindexed(self) -> Exception | None:
        """
        Why the indexes could not be made; `None` if they were, and before the first write.
        """
        return self._link.unindexed

    # -- writing --------------------------------------------------------------------------

    def put(
        self,
        key: str,
        value: ResultMeta,
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> bool:
        new, end = self._link.as_new(value, expires) if if_match is None else (False, None)
        record = records.encoded(value, self.codec, self.max_value_bytes, end)
        if if_match is None:
            update = partial(commands.store, record.body, unless, expires)
        else:
            update = partial(commands.store_over, if_match.version, record.body, expires)
        return self._put(record, update, upsert=if_match is None, new=new)

    def _put(
        self,
        record: Record,
        update: Callable[[], commands.Pipeline],
        *,
        upsert: bool,
        new: bool = False,
    ) -> bool:
        link, name, id_ = self._link, self._settings.tasks, record.task_id

        def act() -> bool:
            if new and link.insert_one(name, record):
                return True
            return link.update_one(name, id_, update(), upsert=upsert)

        return link.run(act, writing=True) or bool(self._found([record]))

    def _found(self, written: Sequence[Record]) -> set[str]:
        """
        Return the ids of those of *written* that are in the store: they were stored by an earlier
        try, whose reply was lost.
        """
        tasks = self._link.collection(self._settings.tasks, primary=True)
        query = answers.own(written)
        found = self._link.run(lambda: list(tasks.find(query, {"_id": 1})), writing=True)
        return {document["_id"] for document in found}

    def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        metas = [meta for _, meta in items]
        first, later = answers.split(metas)
        encode = partial(records.encoded, codec=self.codec, limit=self.max_value_bytes)
        writing = Writing(self._portions, map(encode, first.values()), records.size_of)
        won: set[str] = set()
        while written := writing.next():
            try:
                won |= self._put_batch(written, unless, expires)
            except BackendUnavailableError as error:
                writing.failed(error)
            else:
                writing.went()
        stored = {first[id_].write_id for id_ in won}
        for record in map(encode, later):
            update = partial(commands.store, record.body, unless, expires)
            if self._put(record, update, upsert=True):
                stored.add(record.write_id)
        return [meta.write_id in stored for meta in metas]

    def _put_batch(self, written: list[Record], unless: Unless, expires: float | None) -> set[str]:
        """
        Return the ids of those that are the record.
        """
        name, updates = self._settings.tasks, answers.updates(written, unless, expires)

        def act() -> list[Record]:
            tasks = self._link.ready(name)
            try:
                result = tasks.bulk_write(updates, ordered=False)
            except BulkWriteError as error:
                for record in answers.met(error, written):
                    update = commands.store(record.body, unless, expires)
                    tasks.update_one({"_id": record.task_id}, update, upsert=True)
                return written
            return answers.unsettled(result, written)

        unsettled = self._link.run(act, writing=True)
        won = {record.task_id for record in written} - {r.task_id for r in unsettled}
        return won | self._found(unsettled) if unsettled else won

    def delete_many(self, keys: Collection[str]) -> int:
        return self._delete(self._settings.tasks, keys)

    def _delete(self, name: str, ids: Collection[str]) -> int:
        deleted = 0
        for batch in batches(ids):
            query = commands.alive(batch)
            collection = self._link.collection(name)
            result = self._link.run(partial(collection.delete_many, query), writing=True)
            deleted += result.deleted_count
        return deleted

    def purge(self) -> int:
        names = (self._settings.tasks, self._settings.groups)
        return sum(self._purge(name, commands.IS_EXPIRED) for name in names)

    def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        names = (self._settings.tasks, self._settings.groups)
        return sum(self._purge(name, commands.is_older(age)) for name in names)

    def _purge(self, name: str, which: dict[str, Any]) -> int:
        collection = self._link.collection(name)
        purged = 0
        while True:
            found = self._link.run(
                lambda: list(collection.find(which, {"_id": 1}, limit=BATCH)),
                writing=True,
            )
            if not found:
                return purged
            query = {"_id": {"$in": [d["_id"] for d in found]}, **which}
            result = self._link.run(partial(collection.delete_many, query), writing=True)
            purged += result.deleted_count

    # -- reading --------------------------------------------------------------------------

    def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        codec, name = self.codec, self._settings.tasks
        if len(keys) == 1:  # most often, so it is to take the short way
            documents = self._read(name, list(keys))
        else:
            every = batches(dict.fromkeys(keys))
            documents = [document for batch in every for document in self._read(name, batch)]
        return {document["_id"]: records.decoded(document, codec) for document in documents}

    def _read(self, name: str, ids: list[str]) -> list[dict[str, Any]]:
        """
        Return the documents that have not expired.
        """
        link = self._link
        primary = link.is_awaited(ids)
        if len(ids) == 1:
            found = link.run(lambda: link.find_one(name, ids[0], primary=primary), writing=False)
        else:
            query = {"_id": {"$in": ids}}
            found = link.run(lambda: link.find(name, query, primary=primary), writing=False)
        sure, doubtful = answers.living(found, link.clock)
        if doubtful:
            query = commands.alive(doubtful)
            sure += link.run(lambda: link.find(name, query, primary=primary), writing=False)
        return sure

    def scan(self, prefix: str = "") -> Iterator[str]:
        return self._scan(prefix, None)

    def scan_state(self, state: str, prefix: str = "") -> Iterator[str]:
        return self._scan(prefix, state)

    def _scan(self, prefix: str, state: str | None) -> Iterator[str]:
        # In the order of the ids, which stay as they are while states change.
        start, inclusive = prefix, True
        while True:
            query = commands.starting_with(start, inclusive=inclusive, state=state)
            found = self._link.run(partial(self._page, query), writing=False)
            for document in found:
                if not document["_id"].startswith(prefix):
                    return
                yield document["_id"]
            if len(found) < BATCH:
                return
            start, inclusive = found[-1]["_id"], False

    def _page(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        tasks = self._link.collection(self._settings.tasks)
        return list(tasks.find(query, {"_id": 1}, limit=BATCH).sort("_id", 1))

    @contextmanager
    def watch(self, keys: Collection[str] = ()) -> Iterator[Bell]:
        bell = MongoBell(self._link)
        try:
            bell.open()
            bell.add(keys)
            yield bell
        finally:
            bell.close()

    # -- groups ---------------------------------------------------------------------------

    def put_group(self, group_id: str, task_ids: Sequence[str], *, expires: float | None) -> None:
        record = records.encoded_group(group_id, task_ids, self.codec, self.max_value_bytes)
        update = commands.store(record.body, frozenset(), expires)
        name = self._settings.groups
        link = self._link
        link.run(lambda: link.update_one(name, group_id, update, upsert=True), writing=True)

    def get_group(self, group_id: str) -> list[str] | None:
        found = self._read(self._settings.groups, [group_id])
        return records.decoded_group(found[0], self.codec) if found else None

    def delete_group(self, group_id: str) -> bool:
        return self._delete(self._settings.groups, [group_id]) > 0

    def close(self) -> None:
        self._link.close()
