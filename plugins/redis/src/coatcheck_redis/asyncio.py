"""
The Redis backend for asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from redis import exceptions
from redis.asyncio.connection import (
    BlockingConnectionPool,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)

from coatcheck.aio import Bell, KeyValueBackend
from coatcheck.aio.loops import PerLoop
from coatcheck.backend import BATCH, Unless, batches
from coatcheck.url import URL

from . import script
from .asyncio_bell import RedisBell
from .errors import is_noscript, is_transient, mapped
from .link import Attempts, Command, first_transient
from .settings import Settings
from .sync import CAPABILITIES, MAX_VALUE_BYTES


class RedisBackend(KeyValueBackend):
    """
    As `coatcheck_redis.sync.RedisBackend`, with connections for each event loop.
    """

    capabilities = CAPABILITIES
    max_value_bytes = MAX_VALUE_BYTES

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._links = PerLoop(lambda: Link(settings))

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        return cls(Settings(url, options or {}, operation_timeout=operation_timeout))

    @property
    def trouble(self) -> Exception | None:  # type: ignore[override]
        """
        The error for which an operation is being repeated just now.
        """
        return self._links.get().trouble

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
        while True:
            stores = [script.arguments(key, value, unless, if_match, expires)]
            answer = (await self._store(stores))[0]
            if isinstance(answer, bool):
                return answer
            if not script.may_replace(answer, unless, self.codec):
                return answer == value
            if_match = answer

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
        replies = await self._ask(script.commands(stores), writing=True)
        missing = [i for i, reply in enumerate(replies) if is_noscript(reply)]
        if missing:
            commands = script.commands([stores[i] for i in missing], bring=True)
            for i, reply in zip(missing, await self._ask(commands, writing=True), strict=True):
                replies[i] = reply
        return [
            script.answer(self._checked(reply, writing=True), store[1])
            for reply, store in zip(replies, stores, strict=True)
        ]

    async def delete_many(self, keys: Collection[str]) -> int:
        replies = await self._ask([("DEL", *batch) for batch in batches(keys)], writing=True)
        return sum(self._checked(reply, writing=True) for reply in replies)

    # -- reading --------------------------------------------------------------------------

    async def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for batch in batches(keys):
            reply = (await self._ask([("MGET", *batch)], writing=False))[0]
            values = self._checked(reply, writing=False)
            found.update((k, v) for k, v in zip(batch, values, strict=True) if v is not None)
        return found

    async def scan(self, prefix: str = "") -> AsyncIterator[str]:
        cursor = b"0"
        seen: set[bytes] = set()  # SCAN may return a key twice
        while True:
            command = ("SCAN", cursor, "MATCH", script.glob(prefix), "COUNT", BATCH)
            reply = (await self._ask([command], writing=False))[0]
            cursor, keys = self._checked(reply, writing=False)
            fresh = [key for key in keys if key not in seen]
            seen.update(fresh)
            for key in fresh:
                yield key.decode("utf-8", "surrogateescape")
            if cursor == b"0":
                return

    @asynccontextmanager
    async def watch(self, keys: Collection[str] = ()) -> AsyncIterator[Bell]:
        bell = RedisBell(
            self._links.get().make_subscriber,
            label=self._settings.label,
            patience=self._settings.operation_timeout,
        )
        try:
            await bell.add(keys)
            yield bell
        finally:
            await bell.close()

    # -- the server -----------------------------------------------------------------------

    async def _ask(self, commands: Sequence[Command], *, writing: bool) -> list[Any]:
        return await self._links.get().ask(commands, writing=writing)

    def _checked(self, reply: Any, *, writing: bool) -> Any:
        if isinstance(reply, Exception):
            raise mapped(reply, self._settings.label, writing=writing) from reply
        return reply

    async def close(self) -> None:
        link = self._links.pop()
        if link is not None:
            await link.close()


class Link:
    """
    As `coatcheck_redis.link.Link`, for one event loop.
    """

    def __init__(self, settings: Settings) -> None:
        kind = (
            UnixDomainSocketConnection
            if settings.socket
            else SSLConnection
            if settings.tls
            else Connection
        )
        self._label = settings.label
        self._timeout = settings.operation_timeout
        self._pool: Any = BlockingConnectionPool(
            max_connections=settings.max_connections,
            timeout=settings.operation_timeout,
            connection_class=kind,
            **settings.connection,
        )
        self.trouble: Exception | None = None

    def make_subscriber(self) -> Any:
        """
        Return a connection that is not of the pool.
        """
        return self._pool.connection_class(**self._pool.connection_kwargs)

    async def ask(self, commands: Sequence[Command], *, writing: bool) -> list[Any]:
        """
        Return the replies; the server's errors among them as exceptions of the driver.
        """
        attempts = Attempts(self._timeout)
        while True:
            error: Exception | None
            try:
                async with asyncio.timeout(attempts.left):
                    replies = await self._try(commands)
                error = first_transient(replies)
                if error is None:
                    self.trouble = None
                    return replies
            except TimeoutError:
                error = exceptions.TimeoutError("the server did not answer in time")
            except (exceptions.RedisError, OSError) as raised:
                error = raised
            pause = attempts.next_pause() if is_transient(error) else None
            ours = mapped(error, self._label, writing=writing)
            if pause is None:
                raise ours from error
            self.trouble = ours
            await asyncio.sleep(pause)

    async def _try(self, commands: Sequence[Command]) -> list[Any]:
        connection = await self._pool.get_connection()
        try:
            packed = connection.pack_commands(commands)
            await connection.send_packed_command(packed, check_health=False)
            return [await self._read(connection) for _ in commands]
        except BaseException:
            # Replies that were not read would answer the next command.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self._pool.release(connection)

    async def _read(self, connection: Any) -> Any:
        try:
            return await connection.read_response(timeout=float("inf"))
        except exceptions.ResponseError as error:
            return error

    async def close(self) -> None:
        """
        Close all connections; the next command opens new ones.
        """
        await self._pool.disconnect()
