"""
The Redis backend for synchronous code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

from redis.connection import (
    BlockingConnectionPool,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)

from coatcheck import Bell, Capability, KeyValueBackend
from coatcheck.backend import BATCH, Unless, batches
from coatcheck.url import URL

from . import script
from .bell import RedisBell
from .errors import is_noscript, mapped
from .link import Command, Link
from .settings import Settings

CAPABILITIES: Final = Capability.PUSH | Capability.TTL | Capability.SCAN | Capability.SHARED
#: The server's default `proto-max-bulk-len`.
MAX_VALUE_BYTES: Final = 512 * 1024 * 1024


class RedisBackend(KeyValueBackend):
    """
    Records as strings, written by a script that elects the first ready one and publishes it.
    """

    capabilities = CAPABILITIES
    max_value_bytes = MAX_VALUE_BYTES

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        kind = (
            UnixDomainSocketConnection
            if settings.socket
            else SSLConnection
            if settings.tls
            else Connection
        )
        pool = BlockingConnectionPool(
            max_connections=settings.max_connections,
            timeout=settings.operation_timeout,
            connection_class=kind,
            **settings.connection,
        )
        self._pool = pool
        self._link = Link(pool, label=settings.label, timeout=settings.operation_timeout)

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
        return self._link.trouble

    # -- writing --------------------------------------------------------------------------

    def put(
        self,
        key: str,
        value: bytes,
        *,
        unless: Unless,
        if_match: bytes | None = None,
        expires: float | None,
    ) -> bool:
        while True:
            answer = self._store([script.arguments(key, value, unless, if_match, expires)])[0]
            if isinstance(answer, bool):
                return answer
            if not script.may_replace(answer, unless, self.codec):
                return answer == value
            if_match = answer

    def put_many(
        self, items: Sequence[tuple[str, bytes]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        answers = self._store(
            [script.arguments(key, value, unless, None, expires) for key, value in items]
        )
        return [
            answer
            if isinstance(answer, bool)
            else self.put(key, value, unless=unless, expires=expires)
            for answer, (key, value) in zip(answers, items, strict=True)
        ]

    def _store(self, stores: Sequence[Command]) -> list[bool | bytes]:
        replies = self._ask(script.commands(stores), writing=True)
        missing = [i for i, reply in enumerate(replies) if is_noscript(reply)]
        if missing:
            commands = script.commands([stores[i] for i in missing], bring=True)
            for i, reply in zip(missing, self._ask(commands, writing=True), strict=True):
                replies[i] = reply
        return [
            script.answer(self._checked(reply, writing=True), store[1])
            for reply, store in zip(replies, stores, strict=True)
        ]

    def delete_many(self, keys: Collection[str]) -> int:
        commands = [("DEL", *batch) for batch in batches(keys)]
        return sum(self._checked(r, writing=True) for r in self._ask(commands, writing=True))

    # -- reading --------------------------------------------------------------------------

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for batch in batches(keys):
            reply = self._ask([("MGET", *batch)], writing=False)[0]
            values = self._checked(reply, writing=False)
            found.update((k, v) for k, v in zip(batch, values, strict=True) if v is not None)
        return found

    def scan(self, prefix: str = "") -> Iterator[str]:
        cursor = b"0"
        seen: set[bytes] = set()  # SCAN may return a key twice
        while True:
            command = ("SCAN", cursor, "MATCH", script.glob(prefix), "COUNT", BATCH)
            reply = self._ask([command], writing=False)[0]
            cursor, keys = self._checked(reply, writing=False)
            fresh = [key for key in keys if key not in seen]
            seen.update(fresh)
            yield from (key.decode("utf-8", "surrogateescape") for key in fresh)
            if cursor == b"0":
                return

    @contextmanager
    def watch(self, keys: Collection[str] = ()) -> Iterator[Bell]:
        bell = RedisBell(self._make_subscriber, label=self._settings.label)
        try:
            bell.add(keys)
            yield bell
        finally:
            bell.close()

    def _make_subscriber(self) -> Connection:
        # Not from the pool: it is for one purpose, and its life is the bell's.
        connection: Connection = self._pool.connection_class(**self._pool.connection_kwargs)
        return connection

    # -- the server -----------------------------------------------------------------------

    def _ask(self, commands: Sequence[Command], *, writing: bool) -> list[Any]:
        return self._link.ask(commands, writing=writing)

    def _checked(self, reply: Any, *, writing: bool) -> Any:
        if isinstance(reply, Exception):
            raise mapped(reply, self._settings.label, writing=writing) from reply
        return reply

    def close(self) -> None:
        self._link.close()
