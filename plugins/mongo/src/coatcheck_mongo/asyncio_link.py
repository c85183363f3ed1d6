"""
As `link`, for one event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

import pymongo
from pymongo import AsyncMongoClient, errors
from pymongo.asynchronous.change_stream import AsyncChangeStream, AsyncCollectionChangeStream
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_preferences import Primary

from coatcheck.aio.plugin import Apart, tasks
from coatcheck.plugin import BATCH, monotonic, pass_on_interruption

from . import answers, commands
from .errors import is_lost, is_transient, is_unknown
from .link import CLOSING_PART, ERRORS, MAJORITY, Line
from .records import CODEC_OPTIONS, Record
from .settings import Settings
from .stream import AWAIT_MS

T = TypeVar("T")
Collections = AsyncCollection[dict[str, Any]]


class Link(Line):
    """
    As `coatcheck_mongo.link.Link`.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._client: AsyncMongoClient[dict[str, Any]] | None = None
        self._collections: dict[str, Collections] = {}
        #: The driver may swallow a cancellation, and loses sockets by one while it connects.
        self.apart = Apart(_close_stream)

    def collection(self, name: str, *, primary: bool = False) -> Collections:
        """
        Return the collection *name*, read as the options say, or with *primary* from there.
        """
        key = f"{name}!" if primary else name
        found = self._collections.get(key)
        if found is None:
            if self._client is None:
                self._client = AsyncMongoClient(self.settings.uri, **self.client_options())
            database = self._client[self.settings.database]
            preference = Primary() if primary else None
            found = database.get_collection(name, CODEC_OPTIONS, preference)
            self._collections[key] = found
        return found

    async def run(self, act: Callable[[], Coroutine[Any, Any, T]], *, writing: bool) -> T:
        """
        Return what *act* returns, which raises the driver's errors. Raises a `BackendError` where
        no try came through.
        """
        return await self.repeats.arun(
            lambda attempts: self._try(act, attempts.left), writing=writing
        )

    async def _try(self, act: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> T:
        client = self._client
        try:
            with pymongo.timeout(max(seconds, 0.001)):  # 0 would be no limit
                return await self.apart.run(act)
        except ERRORS as error:
            pass_on_interruption(error)
            if is_lost(error):
                self._replace(client)
            raise

    def _replace(self, client: AsyncMongoClient[dict[str, Any]] | None) -> None:
        """
        See `coatcheck_mongo.link.Link._replace`.
        """
        if client is not None and self._client is client:
            self._client, self._collections = None, {}
            # Apart: the driver waits for its monitors, which may have swallowed a cancellation.
            seconds = self.settings.operation_timeout * CLOSING_PART
            self.apart.leave(tasks.start(_close(client, seconds)))

    async def ready(self, name: str) -> Collections:
        """
        Return the collection *name* for a write, the first of which makes its indexes; so does
        one now and then, because somebody may have dropped the collection with them.

        Who may not make indexes writes all the same. Raises the driver's errors.
        """
        collection = self.collection(name)
        if self.indexed.get(name, 0.0) <= monotonic():
            failed = None
            try:
                await collection.create_indexes(self.index_models(name))
            except errors.OperationFailure as error:
                if is_transient(error) or is_unknown(error):
                    raise
                failed = error
            self.note_indexes(name, failed)
        return collection

    async def find_one(self, name: str, id_: str, *, primary: bool) -> list[dict[str, Any]]:
        """
        Return the document, if there is one. Raises the driver's errors.
        """
        collection = self.collection(name, primary=primary)
        reply = await collection.database.command(
            commands.find_one(name, id_, collection.read_concern.document),
            codec_options=CODEC_OPTIONS,
            read_preference=collection.read_preference,
        )
        found: list[dict[str, Any]] = reply["cursor"]["firstBatch"]
        return found

    async def find(
        self, name: str, query: Mapping[str, Any], *, primary: bool
    ) -> list[dict[str, Any]]:
        """
        Return the documents that *query* is true of. Raises the driver's errors.
        """
        collection = self.collection(name, primary=primary)
        return await collection.find(query, batch_size=BATCH + 1).to_list()

    async def insert_one(self, name: str, record: Record) -> bool:
        """
        See `coatcheck_mongo.link.Link.insert_one`.
        """
        collection = await self.ready(name)
        command = commands.insert_one(name, record.body, collection.write_concern.document)
        return answers.is_new(await collection.database.command(command))

    async def update_one(
        self, name: str, id_: str, update: commands.Pipeline, *, upsert: bool
    ) -> bool:
        """
        Return whether the update changed anything. Raises the driver's errors.
        """
        collection = await self.ready(name)
        concern = collection.write_concern.document
        command = commands.update_one(name, id_, update, concern, upsert=upsert)
        return answers.has_won(await collection.database.command(command))

    async def open_stream(
        self, token: Mapping[str, Any] | None
    ) -> AsyncCollectionChangeStream[Any]:
        """
        Return a live change stream that goes on after *token*. Raises the driver's errors.
        """
        tasks = self.collection(self.settings.tasks, primary=True)
        tasks = tasks.with_options(read_concern=MAJORITY)  # streams have no other
        with pymongo.timeout(self.settings.operation_timeout):
            return await self.apart.run(
                partial(
                    tasks.watch, commands.stream(), start_after=token, max_await_time_ms=AWAIT_MS
                )
            )

    async def close(self) -> None:
        """
        Close the client; the next operation makes a new one. What does not end in the time of an
        operation is left to end by itself.
        """
        client, self._client, self._collections = self._client, None, {}
        closing = None
        if client is not None:
            # The driver waits for its monitors, which may have swallowed that they were cancelled.
            closing = tasks.start(client.close())
            self.apart.leave(closing)
        await self.apart.wait(self.settings.operation_timeout)
        if closing is not None and closing.done():
            closing.result()


def _close_stream(result: object) -> Coroutine[Any, Any, None] | None:
    """
    Return what closes a stream to which nobody will listen.
    """
    return result.close() if isinstance(result, AsyncChangeStream) else None


async def _close(client: AsyncMongoClient[dict[str, Any]], seconds: float) -> None:
    """
    Close *client*; the server hears of that within *seconds*, or not at all.
    """
    with pymongo.timeout(seconds):
        await client.close()
