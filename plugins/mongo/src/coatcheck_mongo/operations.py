"""
The operations on records and groups, once for synchronous code and for asyncio. No I/O.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

from pymongo.errors import OperationFailure

from coatcheck import Capability
from coatcheck.errors import BackendUnavailableError
from coatcheck.plugin import (
    BATCH,
    Operation,
    Operations,
    Portions,
    Query,
    ResultMeta,
    Unless,
    Writing,
    batches,
)

from . import answers, commands, records, scans
from .commands import Pipeline
from .errors import is_transient, is_unknown
from .link import BaseLink
from .records import Record
from .requests import Document, Steps, Try
from .settings import Settings

_CAPABILITIES: Final = (
    Capability.PUSH | Capability.TTL | Capability.SCAN | Capability.SHARED | Capability.EVENTS
)
#: The largest document that the server takes, less some room for the command around it.
MAX_VALUE_BYTES: Final = 16 * 1024 * 1024 - 16 * 1024


class MongoOperations(Operations[ResultMeta]):
    """Records as documents, written by an update that elects the first ready one."""

    keeps_others = True
    ordered = True
    capabilities = _CAPABILITIES
    max_value_bytes = MAX_VALUE_BYTES

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._portions = Portions()
        if not settings.push:
            self.capabilities = _CAPABILITIES & ~Capability.PUSH

    @property
    @abstractmethod
    def _link(self) -> BaseLink: ...

    @property
    def trouble(self) -> Exception | None:
        """The error that makes an operation repeat itself now."""
        return self._link.repeats.trouble

    @property
    def polling(self) -> Exception | None:
        """
        The reason why waits poll, such as a server without change streams, or too many events. `None` while
        the stream wakes them, and before the first wait.
        """
        return self._link.polling

    @property
    def unindexed(self) -> Exception | None:
        """
        The error that kept the indexes from being created; `None` if they exist, and before the first write.
        """
        return self._link.unindexed

    # -- writing --------------------------------------------------------------------------

    def _put(
        self,
        key: str,
        value: ResultMeta,
        unless: Unless,
        if_match: ResultMeta | None,
        expires: float | None,
    ) -> Operation[Try, bool]:
        link = self._link
        new, end = link.as_new(value, expires) if if_match is None else (False, None)
        record = records.encoded(value, self.codec, self.max_value_bytes, end)
        if if_match is None:
            update = partial(commands.store, record.body, unless, expires)
        else:
            update = partial(commands.store_over, if_match.version, record.body, expires)
        return self._elect(link, record, update, upsert=if_match is None, new=new)

    def _elect(
        self,
        link: BaseLink,
        record: Record,
        update: Callable[[], Pipeline],
        *,
        upsert: bool,
        new: bool = False,
    ) -> Operation[Try, bool]:
        name = self._settings.tasks
        act = partial(self._write, link, name, record, update, upsert=upsert, new=new)
        won: bool = yield Try(act, writing=True)
        return won or bool((yield from self._own([record])))

    def _write(
        self,
        link: BaseLink,
        name: str,
        record: Record,
        update: Callable[[], Pipeline],
        *,
        upsert: bool = True,
        new: bool = False,
    ) -> Steps[bool]:
        if link.may_lack_indexes(name):
            yield from self._create_indexes(link, name)
        if new and answers.is_new((yield commands.insert(name, record))):
            return True
        request = commands.update(name, [(record.task_id, update())], upsert=upsert)
        return answers.has_won((yield request))

    def _create_indexes(self, link: BaseLink, name: str) -> Steps[None]:
        """Create the indexes, or note that this user may not: writing goes on without them."""
        failed = None
        request = commands.create_indexes(name, by_state=name == self._settings.tasks)
        try:
            answers.check((yield request))
        except OperationFailure as error:
            if is_transient(error) or is_unknown(error):
                raise
            failed = error
        link.note_indexes(name, failed)

    def _own(self, written: Sequence[Record]) -> Operation[Try, set[str]]:
        """Return the write ids of those of *written* that an earlier try stored; its reply was lost."""
        found = yield Try(commands.find_own(self._settings.tasks, written), writing=True)
        return {document["write_id"] for document in found}

    def _put_many(
        self, items: Sequence[tuple[str, ResultMeta]], unless: Unless, expires: float | None
    ) -> Operation[Try, list[bool]]:
        metas = [meta for _, meta in items]
        first, later = answers.split(metas)
        encode = partial(records.encoded, codec=self.codec, limit=self.max_value_bytes)
        writing = Writing(self._portions, map(encode, first.values()), records.size_of)
        won: set[str | None] = set()
        while written := writing.next():
            try:
                won |= yield from self._put_batch(written, unless, expires)
            except BackendUnavailableError as error:
                writing.failed(error)
            else:
                writing.went()
        for record in map(encode, later):
            update = partial(commands.store, record.body, unless, expires)
            if (yield from self._elect(self._link, record, update, upsert=True)):
                won.add(record.write_id)
        return [meta.write_id in won for meta in metas]

    def _put_batch(
        self, written: list[Record], unless: Unless, expires: float | None
    ) -> Operation[Try, set[str | None]]:
        """Return the write ids of the records that won."""
        act = partial(self._write_batch, written, unless, expires)
        unsettled: list[Record] = yield Try(act, writing=True)
        won = {record.write_id for record in written}
        if unsettled:
            won -= {record.write_id for record in unsettled}
            won |= yield from self._own(unsettled)
        return won

    def _write_batch(
        self, written: list[Record], unless: Unless, expires: float | None
    ) -> Steps[list[Record]]:
        """Return the records that may not have been stored."""
        name = self._settings.tasks
        changes = [(r.task_id, commands.store(r.body, unless, expires)) for r in written]
        link = self._link
        if link.may_lack_indexes(name):
            yield from self._create_indexes(link, name)
        reply = yield commands.update(name, changes)
        collided = answers.collided(reply, written)
        for record in collided:
            change = (record.task_id, commands.store(record.body, unless, expires))
            answers.check((yield commands.update(name, [change])))
        return written if collided else answers.unsettled(reply, written)

    def _delete_many(self, keys: Collection[str]) -> Operation[Try, int]:
        return self._delete_ids(self._settings.tasks, keys)

    def _delete_ids(self, name: str, ids: Collection[str]) -> Operation[Try, int]:
        deleted = 0
        for batch in batches(ids):
            deleted += yield from self._delete(name, commands.alive(batch))
        return deleted

    def _delete(self, name: str, query: Document) -> Operation[Try, int]:
        reply = yield Try(commands.delete(name, query), writing=True)
        answers.check(reply)
        return int(reply["n"])

    def _purge(self, which: Mapping[str, Any]) -> Operation[Try, int]:
        """Delete the records and groups that match the filter *which*, a batch at a time."""
        purged = 0
        for name in (self._settings.tasks, self._settings.groups):
            while found := (yield Try(commands.find_ids(name, which), writing=True)):
                ids = [document["_id"] for document in found]
                purged += yield from self._delete(name, {"_id": {"$in": ids}, **which})
        return purged

    # -- reading --------------------------------------------------------------------------

    def _get_many(self, keys: Collection[str]) -> Operation[Try, dict[str, ResultMeta]]:
        found: list[dict[str, Any]] = []
        # Most reads are of one record, and need no division.
        for batch in [list(keys)] if len(keys) == 1 else batches(dict.fromkeys(keys)):
            found += yield from self._read(self._settings.tasks, batch)
        codec = self.codec
        return {document["_id"]: records.decoded(document, codec) for document in found}

    def _read(self, name: str, ids: list[str]) -> Operation[Try, list[dict[str, Any]]]:
        """Return the documents that have not expired."""
        link = self._link
        primary = link.is_awaited(ids)
        if len(ids) == 1:
            reply = yield Try(commands.find_one(name, ids[0], primary=primary), writing=False)
            found = reply["cursor"]["firstBatch"]
        else:
            found = yield Try(
                commands.find_all(name, {"_id": {"$in": ids}}, primary=primary), writing=False
            )
        sure, doubtful = answers.living(found, link.clock)
        if doubtful:
            sure += yield Try(
                commands.find_all(name, commands.alive(doubtful), primary=primary), writing=False
            )
        return sure

    def _lives(
        self, ids: Collection[str], *, groups: bool
    ) -> Operation[Try, dict[str, float | None]]:
        name = self._settings.groups if groups else self._settings.tasks
        lives: dict[str, float | None] = {}
        for batch in batches(ids):
            found = yield Try(commands.find_ends(name, batch), writing=False)
            lives.update((document["_id"], records.life_of(document)) for document in found)
        return lives

    def _page(
        self, query: Query, after: str | None, *, groups: bool = False
    ) -> Operation[Try, tuple[list[str], str | None]]:
        """
        Return some ids behind *after* that may match *query*, and the id to go on after, or `None` if no others
        follow.
        """
        name, end = self._settings.groups if groups else self._settings.tasks, None
        if not scans.is_indexed(query):
            found = yield Try(scans.find_end(name, query, after), writing=False)
            end = found[0]["_id"] if found else None
        found = yield Try(scans.find_page(name, query, after, end), writing=False)
        page = [d["_id"] for d in found if d["_id"].startswith(query.prefix)]
        last = page[-1] if len(page) == BATCH else end
        goes_on = len(page) == len(found) and last is not None and last.startswith(query.prefix)
        return page, last if goes_on else None

    # -- groups ---------------------------------------------------------------------------

    def _put_group(
        self, group_id: str, task_ids: Sequence[str], expires: float | None
    ) -> Operation[Try, None]:
        record = records.encoded_group(group_id, task_ids, self.codec, self.max_value_bytes)
        update = partial(commands.store, record.body, frozenset(), expires)
        act = partial(self._write, self._link, self._settings.groups, record, update)
        yield Try(act, writing=True)

    def _get_group(self, group_id: str) -> Operation[Try, list[str] | None]:
        found = yield from self._read(self._settings.groups, [group_id])
        return records.decoded_group(found[0], self.codec) if found else None

    def _delete_group(self, group_id: str) -> Operation[Try, bool]:
        return (yield from self._delete_ids(self._settings.groups, [group_id])) > 0
