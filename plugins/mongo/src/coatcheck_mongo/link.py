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
from pymongo import MongoClient
from pymongo.change_stream import CollectionChangeStream
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import InvalidOperation
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import Primary

from coatcheck.errors import ThreadStartError
from coatcheck.plugin import (
    Operation,
    Repeats,
    ResultMeta,
    drive,
    forks,
    monotonic,
    pass_on_interruption,
    start,
    undisturbed,
)

from . import commands
from .clock import ServerClock
from .errors import ERRORS, is_lost, is_transient, mapped
from .records import CODEC_OPTIONS
from .requests import Find, Request, Steps, Try
from .settings import Settings

_logger = logging.getLogger("coatcheck")

T = TypeVar("T")
Collections = MongoCollection[dict[str, Any]]

#: An abandoned client gets this part of an operation's time to say goodbye to the server.
CLOSING_PART: Final = 1 / 4
#: After this many seconds a write creates the indexes again; if they exist, that does nothing.
REINDEX: Final = 10.0
#: How long the server holds an answer of a change stream back while nothing happens, in milliseconds. Closing
#: takes as long: the server does not answer sooner, not even if the cursor is killed.
AWAIT_MS: Final = 200
#: The largest number of ids that are remembered.
_REMEMBERED: Final = 10_000
#: Clients that a fork copied. They are the parent's to close, and never collected: the driver would warn.
_LEFT: Final[list[Any]] = []


class BaseLink:
    """The knowledge of this process about the servers, for both sides."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = ServerClock()
        self.repeats = Repeats(
            settings.operation_timeout,
            errors=ERRORS,
            is_transient=is_transient,
            mapped=partial(mapped, label=settings.label),
        )
        #: The error for which waits poll now.
        self.polling: Exception | None = None
        #: The error that kept the indexes from being created.
        self.unindexed: Exception | None = None
        #: The time until which the indexes of a collection are taken for granted.
        self.indexed: dict[str, float] = {}
        #: The ids that somebody waits for. They are read from the primary.
        self.awaited: set[str] = set()
        #: How often `close` was called. A bell or an operation that began before the last call makes no new
        #: client, which nobody would close.
        self.closings = 0
        #: The ids of the unready records that this process stored.
        self._begun: set[str] = set()

    def is_awaited(self, ids: Collection[str]) -> bool:
        """Return whether somebody waits for one of *ids*, so that a stale answer will not do."""
        return not self.awaited.isdisjoint(ids)

    def as_new(self, meta: ResultMeta, expires: float | None) -> tuple[bool, datetime | None]:
        """
        Return whether to try an insert first, and the date at which the record would expire.

        An insert takes half the time of an update, but fails if there is a record, as after an unready one of this
        process. It needs a date, which sometimes only the server can compute.
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
        """The seconds that the next answer of a change stream may take."""
        return AWAIT_MS / 1000 + self.settings.operation_timeout

    def client_options(self) -> dict[str, Any]:
        """Return the options of a client that connects when it is first used."""
        return {**self.settings.driver, "connect": False, "event_listeners": [self.clock]}

    def may_lack_indexes(self, name: str) -> bool:
        """
        Return whether a write must create the indexes of a collection: at first, and now and then, because
        somebody may have dropped them with the collection.
        """
        return self.indexed.get(name, 0.0) <= monotonic()

    def note_indexes(self, name: str, error: Exception | None) -> None:
        """
        Note that the indexes of a collection exist, or that *error* prevented it, which is logged once.
        """
        self.indexed[name] = monotonic() + REINDEX
        known = self.unindexed
        self.unindexed = error and mapped(error, self.settings.label, writing=True)
        if self.unindexed is not None and known is None:
            _logger.warning(
                "the indexes could not be created, so expired records stay until they are purged: %s",
                self.unindexed,
            )

    def check_open(self, opened: int) -> None:
        """Raise `InvalidOperation` if the link was closed after somebody read *opened* from `closings`."""
        if opened != self.closings:
            raise InvalidOperation("the result backend was closed")

    def _view(self, client: Any, name: str, *, primary: bool) -> Any:
        preference = Primary() if primary else None
        database = client[self.settings.database]
        return database.get_collection(name, CODEC_OPTIONS, preference)

    def _watch(self, collection: Any, token: Mapping[str, Any] | None) -> Any:
        """Return a change stream that continues after *token*, or its coroutine."""
        majority = collection.with_options(read_concern=ReadConcern("majority"))  # or no streams
        return majority.watch(commands.stream(), start_after=token, max_await_time_ms=AWAIT_MS)


class Link(BaseLink):
    """The link of synchronous code. Shared by threads; a forked child makes its own client."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._lock = threading.Lock()
        self._client: MongoClient[dict[str, Any]] | None = None
        self._collections: dict[tuple[str, bool], Collections] = {}
        forks.register(self)

    def after_fork(self) -> None:
        if self._client is not None:
            _LEFT.append((self._client, self._collections))
        self._lock = threading.Lock()
        self._client, self._collections = None, {}
        self.awaited = set()

    def run(self, operation: Operation[Try, T]) -> T:
        """Return the outcome of *operation*."""
        return drive(operation, self.ask)

    def ask(self, attempt: Try) -> Any:
        """
        Return the outcome of a try, which is repeated within its time. Raises a `BackendError`.
        """
        return self.repeats.run(
            lambda attempts: self._try(attempt.act, attempts.left), writing=attempt.writing
        )

    def _try(self, act: Callable[[], Steps[Any]] | Request, seconds: float) -> Any:
        client = self._client
        try:
            # Undisturbed: an exception of a signal handler would leave locks of the driver locked, and its
            # deadline in a variable that later operations read.
            return undisturbed(partial(self._within, seconds, self._send_all, act, self.closings))
        except ERRORS as error:
            pass_on_interruption(error)
            if is_lost(error):
                undisturbed(partial(self._replace, client))
            raise

    def _within(self, seconds: float, act: Callable[..., T], *args: Any) -> T:
        try:
            with pymongo.timeout(max(seconds, 0.001)):  # 0 would be no limit
                return act(*args)
        except RuntimeError as error:
            # A driver that could not start its monitor would never look for the servers again.
            self._close()
            raise ThreadStartError("pymongo", error) from error

    def _send_all(self, act: Callable[[], Steps[Any]] | Request, opened: int) -> Any:
        send = partial(self._send, opened=opened)
        return drive(act(), send, ERRORS) if callable(act) else send(act)

    def _send(self, request: Request, opened: int) -> Any:
        reply = request.sent(
            self._collection(request.collection, primary=request.primary, opened=opened)
        )
        return list(reply) if isinstance(request, Find) else reply

    def _collection(self, name: str, *, primary: bool, opened: int) -> Collections:
        forks.check()
        found = self._collections.get((name, primary))
        if found is None:
            with self._lock:
                if self._client is None:
                    self.check_open(opened)
                    # It connects at once, in the background: that starts threads.
                    options = {**self.client_options(), "connect": True}
                    self._client = MongoClient(self.settings.uri, **options)
                found = self._collections[name, primary] = self._view(
                    self._client, name, primary=primary
                )
        return found

    def _replace(self, client: MongoClient[dict[str, Any]] | None) -> None:
        """
        Make the next try connect again: idle connections of *client* may be lost as well, and the driver has
        no way to close only those.
        """
        with self._lock:
            if client is None or self._client is not client:
                return  # another thread was first
            self._client, self._collections = None, {}
        seconds = self.settings.operation_timeout * CLOSING_PART

        def close() -> None:
            with pymongo.timeout(seconds):
                client.close()

        # In a thread: the driver waits for its monitors, whose connections may be lost as well.
        start(threading.Thread(target=close, name="coatcheck-closing", daemon=True))

    def open_stream(
        self, token: Mapping[str, Any] | None, opened: int
    ) -> CollectionChangeStream[Any]:
        """
        Return a live change stream that continues after *token*. Raises the driver's errors.

        Args:
            opened: the value of `closings` when the bell was made.
        """

        def watch() -> CollectionChangeStream[Any]:
            stream: CollectionChangeStream[Any] = self._watch(
                self._collection(self.settings.tasks, primary=True, opened=opened), token
            )
            return stream

        return undisturbed(partial(self._within, self.settings.operation_timeout, watch))

    def close(self) -> None:
        """Close the client; the next operation makes a new one."""
        forks.check()
        undisturbed(partial(self._close, closings=1))

    def _close(self, closings: int = 0) -> None:
        with self._lock:
            self.closings += closings
            client, self._client, self._collections = self._client, None, {}
        if client is not None:
            client.close()
