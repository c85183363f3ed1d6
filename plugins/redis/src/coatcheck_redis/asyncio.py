"""
The Redis backend for asyncio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from coatcheck import BackendError, ResultTooLargeError
from coatcheck.aio import Bell, KeyValueBackend
from coatcheck.aio.plugin import PerLoop
from coatcheck.plugin import BATCH, URL, Unless, batches

from . import script
from .asyncio_bell import RedisBell
from .asyncio_cluster import Cluster
from .asyncio_link import Link, connection_class
from .errors import (
    is_noscript,
    is_size_refused,
    is_size_suspect,
    is_wrong_type,
    mapped,
)
from .link import Place
from .script import Command
from .settings import Settings
from .sync import CAPABILITIES, MAX_VALUE_BYTES


class RedisBackend(KeyValueBackend):
    """
    As `coatcheck_redis.sync.RedisBackend`, with connections for each event loop.
    """

    PROTOCOL_VERSION = 1
    capabilities = CAPABILITIES
    max_value_bytes = MAX_VALUE_BYTES

    def __init__(self, settings: Settings) -> None:
        settings.check_driver(connection_class(settings))
        self._settings = settings
        self._script = script.SHARDED if settings.cluster else script.SCRIPT
        self._links: PerLoop[Link | Cluster] = PerLoop(
            lambda: Cluster(settings) if settings.cluster else Link(settings),
            lambda link: link.close(),
        )

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        return cls(Settings(url, options or {}, operation_timeout=operation_timeout))

    @property
    def trouble(self) -> Exception | None:
        """
        The error for which an operation is being repeated just now.
        """
        return self._links.get().repeats.trouble

    @property
    def polling(self) -> Exception | None:
        """
        See `coatcheck_redis.sync.RedisBackend.polling`; for the running loop.
        """
        return self._links.get().polling

    # -- writing --------------------------------------------------------------------------

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        unless: Unless,
        if_match: bytes | None = None,
        expires: float | None,
    ) -> bool:
        observed: bytes | None = None
        while True:
            match = if_match if observed is None else observed
            stores = [script.arguments(key, value, unless, match, expires)]
            answer = (await self._store(stores))[0]
            if isinstance(answer, bytes):
                if not script.may_replace(answer, unless, self.codec):
                    return answer == value
                observed = answer
            elif answer or observed is None:
                return answer
            else:
                observed = None  # another one came in between, which has to be asked about anew

    async def put_many(
        self, items: Sequence[tuple[str, bytes]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        answers = await self._store(
            [script.arguments(key, value, unless, None, expires) for key, value in items]
        )
        return [
            answer
            if isinstance(answer, bool)
            else await self.put(key, value, unless=unless, expires=expires)
            for answer, (key, value) in zip(answers, items, strict=True)
        ]

    async def _store(self, stores: Sequence[Command]) -> list[bool | bytes]:
        try:
            replies = await self._said(stores)
            return [
                script.answer(self._checked(reply, writing=True), store[1])
                for reply, store in zip(replies, stores, strict=True)
            ]
        except BackendError as error:
            value = max((store[2] for store in stores), key=len)
            if is_size_suspect(error, len(value)):
                await self._check_size(value, error)
            raise

    async def _said(self, stores: Sequence[Command]) -> list[Any]:
        """
        Return the replies to *stores*.
        """
        replies: list[Any] = [None] * len(stores)
        left = list(range(len(stores)))
        for bring in script.BRINGING:
            commands = self._script.commands([stores[i] for i in left], bring=bring)
            for i, reply in zip(left, await self._ask(commands, writing=True), strict=True):
                replies[i] = reply
            left = [i for i in left if is_noscript(replies[i])]
            if not left:
                break
        return replies

    async def _check_size(self, value: bytes, error: BackendError) -> None:
        """
        Raise `ResultTooLargeError` if *value* is more than the server takes, which is remembered.

        A server that refuses a size closes the connection, often before its answer can be read.
        """
        place = (await self._links.get().places())[0]
        limit = script.limit_in((await self._ask([script.LIMIT], writing=False, place=place))[0])
        if limit is None and is_size_refused(error):
            limit = len(value) - 1  # who may not ask knows this much
        if limit is not None and len(value) > limit:
            self.max_value_bytes = min(limit, self.max_value_bytes)
            task_id = str(self.codec.id_of(value))
            raise ResultTooLargeError(task_id, size=len(value), limit=limit) from error

    async def delete_many(self, keys: Collection[str]) -> int:
        deleted = 0
        for batch in batches(keys):
            commands = script.deletions(batch, sharded=self._links.get().sharded)
            replies = await self._ask(commands, writing=True)
            deleted += sum(self._checked(reply, writing=True) for reply in replies)
        return deleted

    # -- reading --------------------------------------------------------------------------

    async def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        sharded = self._links.get().sharded
        for batch in batches(keys):
            replies = await self._ask(script.reads(batch, sharded=sharded), writing=False)
            checked = [self._checked(reply, writing=False) for reply in replies]
            found.update(script.values(batch, checked, sharded=sharded))
        return found

    async def scan(self, prefix: str = "") -> AsyncIterator[str]:
        seen: set[bytes] = set()  # SCAN may return a key twice
        for place in await self._links.get().places():
            cursor = b"0"
            while True:
                command = ("SCAN", cursor, "MATCH", script.glob(prefix), "COUNT", str(BATCH))
                reply = (await self._ask([command], writing=False, place=place))[0]
                cursor, keys = self._checked(reply, writing=False)
                fresh = [key for key in keys if key not in seen]
                seen.update(fresh)
                for key in script.texts(fresh):
                    yield key
                if cursor == b"0":
                    break

    @asynccontextmanager
    async def watch(self, keys: Collection[str] = ()) -> AsyncIterator[Bell]:
        bell = RedisBell(
            self._links.get(),
            label=self._settings.label,
            patience=self._settings.operation_timeout,
        )
        try:
            await bell.add(keys)
            yield bell
        finally:
            await bell.close()

    # -- the server -----------------------------------------------------------------------

    async def _ask(
        self, commands: Sequence[Command], *, writing: bool, place: Place = None
    ) -> list[Any]:
        return await self._links.get().ask(commands, writing=writing, place=place)

    def _checked(self, reply: Any, *, writing: bool) -> Any:
        if isinstance(reply, Exception) and (writing or not is_wrong_type(reply)):
            raise mapped(reply, self._settings.label, writing=writing) from reply
        return reply

    async def close(self) -> None:
        link = self._links.pop()
        if link is not None:
            await link.close()
