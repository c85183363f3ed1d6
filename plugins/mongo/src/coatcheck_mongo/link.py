"""
The way to the servers: one client for each process, one deadline for each operation, and repeats.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import pymongo
from pymongo import IndexModel, MongoClient, errors
from pymongo.change_stream import CollectionChangeStream
from pymongo.collection import Collection as MongoCollection
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import Primary

from coatcheck.errors import ThreadStartError
from coatcheck.plugin import (
    BATCH,
    Repeats,
    ResultMeta,
    forks,
    monotonic,
    pass_on_interruption,
    start,
    undisturbed,
)

from . import answers, commands
from .clock import ServerClock
from .errors import is_lost, is_transient, is_unknown, mapped
from .records import CODEC_OPTIONS, Record
from .settings import Settings
from .stream import AWAIT_MS

MAJORITY: Final = ReadConcern("majority")

_logger = logging.getLogger("coatcheck")

T = TypeVar("T")
#: What the driver raises.
ERRORS: Final = (errors.PyMongoError, OSError)
Collections = MongoCollection[dict[str, Any]]

#: What part of an operation's time a client that was given up may take to say so to the server.
CLOSING_PART: Final = 1 / 4
#: After so many seconds a write makes the indexes again, which does nothing where they are there.
REINDEX: Final = 10.0
#: How many ids are remembered at most.
_REMEMBERED: Final = 10_000
#: Clients of which a fork made a copy. They are not the child's to close, and are never collected:
#: the driver would warn of them.
_LEFT: Final[list[Any]] = []


class Line:
    """
    What the lines of both colours have in common.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = ServerClock()
        self.repeats = Repeats(
            settings.operation_timeout,
            errors=ERRORS,
            is_transient=is_transient,
            mapped=partial(mapped, label=settings.label),
        )
        #: The error for which waits look by themselves just now.
        self.polling: Exception | None = None
        #: The error for which there may be no indexes.
        self.unindexed: Exception | None = None
        #: Until when the indexes of a collection are taken to be there.
        self.indexed: dict[str, float] = {}
        #: The ids that are waited for, which are read where they were written.
        self.awaited: set[str] = set()
        #: The ids of which this process stored a record that another one is to replace.
        self._begun: set[str] = set()

    def is_awaited(self, ids: Collection[str]) -> bool:
        """
        Whether one of *ids* is waited for, so that no stale answer will do.
        """
        return not self.awaited.isdisjoint(ids)

    def as_new(self, meta: ResultMeta, expires: float | None) -> tuple[bool, datetime | None]:
        """
        Return whether to try first and put *meta* where there is no record, and when it ends then.

        That takes half the time, and is in vain where there is one, as after one from here that
        was not ready. Nor is it done where only the server can say when *meta* ends.
        """
        task_id = meta.task_id
        begun = task_id in self._begun
        if meta.ready:
            self._begun.discard(task_id)
        elif not begun:
            if len(self._begun) >= _REMEMBERED:
                self._begun.clear()
            self._begun.add(task_id)
        seconds = commands.until(expires)
        if begun or seconds is None:
            return not begun, None
        end = self.clock.end_of(seconds)
        return end is not None, end

    @property
    def patience(self) -> float:
        """
        How long the next answer of a change stream may take, in seconds.
        """
        return AWAIT_MS / 1000 + self.settings.operation_timeout

    def client_options(self) -> dict[str, Any]:
        """
        Return the options of a client that connects when it is first used.
        """
        listeners = [self.clock]
        return {**self.settings.driver, "connect": False, "event_listeners": listeners}

    def note_indexes(self, name: str, error: Exception | None) -> None:
        """
        Take in that the indexes of the collection *name* are there for a while, or could not be made,
        because of *error*, which is said once.
        """
        self.indexed[name] = monotonic() + REINDEX
        known = self.unindexed
        self.unindexed = error and mapped(error, self.settings.label, writing=True)
        if self.unindexed is None or known is not None:
            return
        _logger.warning(
            "the indexes could not be made, so expired records stay until they are purged: %s",
            self.unindexed,
        )

    def index_models(self, name: str) -> list[IndexModel]:
        """
        Return the indexes of the collection *name*.
        """
        expiry, keys = commands.EXPIRY_INDEX
        models = [IndexModel(keys, name=expiry, expireAfterSeconds=0)]
        if name == self.settings.tasks:
            state, keys = commands.STATE_INDEX
            models.append(IndexModel(keys, name=state))
        return models


class Link(Line):
    """
    The line of synchronous code. Shared by threads, made anew in a forked child.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._lock = threading.Lock()
        self._client: MongoClient[dict[str, Any]] | None = None
        self._collections: dict[str, Collections] = {}
        forks.register(self)

    def after_fork(self) -> None:
        """
        Leave the client to the parent.
        """
        if self._client is not None:
            _LEFT.append((self._client, self._collections))
        self._lock = threading.Lock()
        self._client, self._collections = None, {}
        self.awaited = set()

    def collection(self, name: str, *, primary: bool = False) -> Collections:
        """
        Return the collection *name*, read as the options say, or with *primary* from there.
        """
        forks.check()
        key = f"{name}!" if primary else name
        found = self._collections.get(key)
        return found if found is not None else undisturbed(partial(self._add, key, name, primary))

    def _add(self, key: str, name: str, primary: bool) -> Collections:  # noqa: FBT001
        with self._lock:
            if self._client is None:
                self._client = self._make_client()
            preference = Primary() if primary else None
            database = self._client[self.settings.database]
            found = database.get_collection(name, CODEC_OPTIONS, preference)
            self._collections[key] = found
            return found

    def _make_client(self) -> MongoClient[dict[str, Any]]:
        # Connected at once, in the background: that starts threads.
        options = {**self.client_options(), "connect": True}
        return MongoClient(self.settings.uri, **options)

    def run(self, act: Callable[[], T], *, writing: bool) -> T:
        """
        Return what *act* returns, which raises the driver's errors. Raises a `BackendError` where
        no try came through.
        """
        return self.repeats.run(lambda attempts: self._try(act, attempts.left), writing=writing)

    def _try(self, act: Callable[[], T], seconds: float) -> T:
        client = self._client
        try:
            # Undisturbed: an exception of a signal handler would leave the driver's locks locked,
            # and its deadline in a variable for all that follows.
            return undisturbed(partial(self._within, seconds, act))
        except ERRORS as error:
            pass_on_interruption(error)
            if is_lost(error):
                undisturbed(partial(self._replace, client))
            raise

    def _within(self, seconds: float, act: Callable[[], T]) -> T:
        with pymongo.timeout(max(seconds, 0.001)):  # 0 would be no limit
            return self._within_threads(act)

    def _within_threads(self, act: Callable[[], T]) -> T:
        """
        Return what *act* returns. A driver that could start no monitor would never look for the
        servers again: the next try makes a new client.
        """
        try:
            return act()
        except RuntimeError as error:
            self._close()
            raise ThreadStartError("pymongo", error) from error

    def _replace(self, client: MongoClient[dict[str, Any]] | None) -> None:
        """
        Have the next try connect anew. What befell one connection of *client* may have befallen
        those that were idle as long, and the driver has no way to close these alone.
        """
        with self._lock:
            if client is None or self._client is not client:
                return  # another thread was first
            self._client, self._collections = None, {}
        seconds = self.settings.operation_timeout * CLOSING_PART

        def close() -> None:
            with pymongo.timeout(seconds):
                client.close()

        # Apart: the driver waits for its monitors, whose connections may say nothing either.
        start(threading.Thread(target=close, name="coatcheck-closing", daemon=True))

    def ready(self, name: str) -> Collections:
        """
        Return the collection *name* for a write, the first of which makes its indexes; so does
        one now and then, because somebody may have dropped the collection with them.

        Who may not make indexes writes all the same. Raises the driver's errors.
        """
        collection = self.collection(name)
        if self.indexed.get(name, 0.0) <= monotonic():
            failed = None
            try:
                collection.create_indexes(self.index_models(name))
            except errors.OperationFailure as error:
                if is_transient(error) or is_unknown(error):
                    raise
                failed = error
            self.note_indexes(name, failed)
        return collection

    def find_one(self, name: str, id_: str, *, primary: bool) -> list[dict[str, Any]]:
        """
        Return the document, if there is one. Raises the driver's errors.
        """
        collection = self.collection(name, primary=primary)
        reply = collection.database.command(
            commands.find_one(name, id_, collection.read_concern.document),
            codec_options=CODEC_OPTIONS,
            read_preference=collection.read_preference,
        )
        found: list[dict[str, Any]] = reply["cursor"]["firstBatch"]
        return found

    def find(self, name: str, query: Mapping[str, Any], *, primary: bool) -> list[dict[str, Any]]:
        """
        Return the documents that *query* is true of. Raises the driver's errors.
        """
        return list(self.collection(name, primary=primary).find(query, batch_size=BATCH + 1))

    def insert_one(self, name: str, record: Record) -> bool:
        """
        Return whether the record is there now; not so where an update has to tell why. Raises the
        driver's errors.
        """
        collection = self.ready(name)
        command = commands.insert_one(name, record.body, collection.write_concern.document)
        return answers.is_new(collection.database.command(command))

    def update_one(self, name: str, id_: str, update: commands.Pipeline, *, upsert: bool) -> bool:
        """
        Return whether the update changed anything. Raises the driver's errors.
        """
        collection = self.ready(name)
        concern = collection.write_concern.document
        command = commands.update_one(name, id_, update, concern, upsert=upsert)
        return answers.has_won(collection.database.command(command))

    def open_stream(self, token: Mapping[str, Any] | None) -> CollectionChangeStream[Any]:
        """
        Return a live change stream that goes on after *token*. Raises the driver's errors.
        """
        tasks = self.collection(self.settings.tasks, primary=True)
        tasks = tasks.with_options(read_concern=MAJORITY)  # streams have no other
        with pymongo.timeout(self.settings.operation_timeout):
            return self._within_threads(
                partial(
                    tasks.watch, commands.stream(), start_after=token, max_await_time_ms=AWAIT_MS
                )
            )

    def close(self) -> None:
        """
        Close the client; the next operation makes a new one.
        """
        forks.check()
        undisturbed(self._close)

    def _close(self) -> None:
        with self._lock:
            client, self._client, self._collections = self._client, None, {}
        if client is not None:
            client.close()
