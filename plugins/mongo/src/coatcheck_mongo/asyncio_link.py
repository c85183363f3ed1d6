"""
The way to the servers for one event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

import pymongo
from pymongo import AsyncMongoClient
from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.asynchronous.collection import AsyncCollection

from coatcheck.aio.plugin import Apart, tasks
from coatcheck.plugin import Operation, adrive, pass_on_interruption

from .errors import ERRORS, is_lost
from .link import CLOSING_PART, BaseLink
from .requests import Find, Request, Steps, Try
from .settings import Settings

T = TypeVar("T")
Client = AsyncMongoClient[dict[str, Any]]
Collections = AsyncCollection[dict[str, Any]]


class Link(BaseLink):
    """As `coatcheck_mongo.link.Link`, with coroutines."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._client: Client | None = None
        self._collections: dict[tuple[str, bool], Collections] = {}
        #: The driver may swallow a cancellation, or lose a socket by one while it connects.
        self.apart = Apart(_close_stream)

    async def run(self, operation: Operation[Try, T]) -> T:
        """Return the outcome of *operation*."""
        return await adrive(operation, self.ask)

    async def ask(self, attempt: Try) -> Any:
        """
        Return the outcome of a try, which is repeated within its time. Raises a `BackendError`.
        """
        return await self.repeats.arun(
            lambda attempts: self._try(attempt.act, attempts.left), writing=attempt.writing
        )

    async def _try(self, act: Callable[[], Steps[Any]] | Request, seconds: float) -> Any:
        client = self._client
        try:
            with pymongo.timeout(max(seconds, 0.001)):  # 0 would be no limit
                return await self.apart.run(partial(self._send_all, act, self.closings))
        except ERRORS as error:
            pass_on_interruption(error)
            if is_lost(error):
                self._replace(client)
            raise

    def _send_all(
        self, act: Callable[[], Steps[Any]] | Request, opened: int
    ) -> Coroutine[Any, Any, Any]:
        send = partial(self._send, opened=opened)
        return adrive(act(), send, ERRORS) if callable(act) else send(act)

    async def _send(self, request: Request, opened: int) -> Any:
        reply = request.sent(
            self._collection(request.collection, primary=request.primary, opened=opened)
        )
        return await (reply.to_list() if isinstance(request, Find) else reply)

    def _collection(self, name: str, *, primary: bool, opened: int) -> Collections:
        found = self._collections.get((name, primary))
        if found is None:
            if self._client is None:
                self.check_open(opened)
                self._client = AsyncMongoClient(self.settings.uri, **self.client_options())
            found = self._collections[name, primary] = self._view(
                self._client, name, primary=primary
            )
        return found

    def _replace(self, client: Client | None) -> None:
        """See `coatcheck_mongo.link.Link._replace`."""
        if client is not None and self._client is client:
            self._client, self._collections = None, {}
            # In a task: the driver waits for its monitors, which may have swallowed a cancellation.
            seconds = self.settings.operation_timeout * CLOSING_PART
            self.apart.leave(tasks.start(_close(client, seconds)))

    async def open_stream(
        self, token: Mapping[str, Any] | None, opened: int
    ) -> AsyncChangeStream[Any]:
        """See `coatcheck_mongo.link.Link.open_stream`."""
        collection = self._collection(self.settings.tasks, primary=True, opened=opened)
        with pymongo.timeout(self.settings.operation_timeout):
            return await self.apart.run(partial(self._watch, collection, token))

    async def close(self) -> None:
        """
        Close the client; the next operation makes a new one. Anything that takes longer than an operation's
        time ends by itself.
        """
        self.closings += 1
        client, self._client, self._collections = self._client, None, {}
        closing = None
        if client is not None:
            closing = tasks.start(client.close())  # see `_replace`
            self.apart.leave(closing)
        await self.apart.wait(self.settings.operation_timeout)
        if closing is not None and closing.done():
            closing.result()


def _close_stream(result: object) -> Coroutine[Any, Any, None] | None:
    """Return the call that closes a stream which nobody will read."""
    return result.close() if isinstance(result, AsyncChangeStream) else None


async def _close(client: Client, seconds: float) -> None:
    """Close *client*; the server hears of it within *seconds*, or not at all."""
    with pymongo.timeout(seconds):
        await client.close()
