"""
The Redis backend for synchronous code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

from coatcheck import BackendError, Bell, Capability, KeyValueBackend, ResultTooLargeError
from coatcheck.plugin import BATCH, URL, Unless, batches

from . import script
from .bell import RedisBell
from .celerysettings import celery_options
from .cluster import Cluster
from .errors import (
    is_noscript,
    is_size_refused,
    is_size_suspect,
    is_wrong_type,
    mapped,
)
from .link import Link, Place, connection_class
from .script import Command
from .settings import Settings

CAPABILITIES: Final = Capability.PUSH | Capability.TTL | Capability.SCAN | Capability.SHARED
#: The server's default `proto-max-bulk-len`.
MAX_VALUE_BYTES: Final = 512 * 1024 * 1024


class RedisBackend(KeyValueBackend):
    """
    Records as strings, written by a script that elects the first ready one and publishes it.
    """

    PROTOCOL_VERSION = 1
    capabilities = CAPABILITIES
    max_value_bytes = MAX_VALUE_BYTES

    def __init__(self, settings: Settings) -> None:
        settings.check_driver(connection_class(settings))
        self._settings = settings
        self._link = Cluster(settings) if settings.cluster else Link(settings)
        self._script = script.SHARDED if settings.cluster else script.SCRIPT

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
        The error for which waits look by themselves, for want of a subscription; `None` while
        they are woken, and before the first of them.
        """
        return self._link.polling

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
        observed: bytes | None = None
        while True:
            match = if_match if observed is None else observed
            stores = [script.arguments(key, value, unless, match, expires)]
            answer = self._store(stores)[0]
            if isinstance(answer, bytes):
                if not script.may_replace(answer, unless, self.codec):
                    return answer == value
                observed = answer
            elif answer or observed is None:
                return answer
            else:
                observed = None  # another one came in between, which has to be asked about anew

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
        try:
            replies = self._said(stores)
            return [
                script.answer(self._checked(reply, writing=True), store[1])
                for reply, store in zip(replies, stores, strict=True)
            ]
        except BackendError as error:
            value = max((store[2] for store in stores), key=len)
            if is_size_suspect(error, len(value)):
                self._check_size(value, error)
            raise

    def _said(self, stores: Sequence[Command]) -> list[Any]:
        """
        Return the replies to *stores*.
        """
        replies: list[Any] = [None] * len(stores)
        left = list(range(len(stores)))
        for bring in script.BRINGING:
            commands = self._script.commands([stores[i] for i in left], bring=bring)
            for i, reply in zip(left, self._ask(commands, writing=True), strict=True):
                replies[i] = reply
            left = [i for i in left if is_noscript(replies[i])]
            if not left:
                break
        return replies

    def _check_size(self, value: bytes, error: BackendError) -> None:
        """
        Raise `ResultTooLargeError` if *value* is more than the server takes, which is remembered.

        A server that refuses a size closes the connection, often before its answer can be read.
        """
        place = (self._link.places())[0]
        limit = script.limit_in((self._ask([script.LIMIT], writing=False, place=place))[0])
        if limit is None and is_size_refused(error):
            limit = len(value) - 1  # who may not ask knows this much
        if limit is not None and len(value) > limit:
            self.max_value_bytes = min(limit, self.max_value_bytes)
            task_id = str(self.codec.id_of(value))
            raise ResultTooLargeError(task_id, size=len(value), limit=limit) from error

    def delete_many(self, keys: Collection[str]) -> int:
        deleted = 0
        for batch in batches(keys):
            commands = script.deletions(batch, sharded=self._link.sharded)
            replies = self._ask(commands, writing=True)
            deleted += sum(self._checked(reply, writing=True) for reply in replies)
        return deleted

    # -- reading --------------------------------------------------------------------------

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        sharded = self._link.sharded
        for batch in batches(keys):
            replies = self._ask(script.reads(batch, sharded=sharded), writing=False)
            checked = [self._checked(reply, writing=False) for reply in replies]
            found.update(script.values(batch, checked, sharded=sharded))
        return found

    def scan(self, prefix: str = "") -> Iterator[str]:
        seen: set[bytes] = set()  # SCAN may return a key twice
        for place in self._link.places():
            cursor = b"0"
            while True:
                command = ("SCAN", cursor, "MATCH", script.glob(prefix), "COUNT", str(BATCH))
                reply = self._ask([command], writing=False, place=place)[0]
                cursor, keys = self._checked(reply, writing=False)
                fresh = [key for key in keys if key not in seen]
                seen.update(fresh)
                yield from script.texts(fresh)
                if cursor == b"0":
                    break

    @contextmanager
    def watch(self, keys: Collection[str] = ()) -> Iterator[Bell]:
        bell = RedisBell(self._link, label=self._settings.label)
        try:
            bell.add(keys)
            yield bell
        finally:
            bell.close()

    # -- the server -----------------------------------------------------------------------

    def _ask(self, commands: Sequence[Command], *, writing: bool, place: Place = None) -> list[Any]:
        return self._link.ask(commands, writing=writing, place=place)

    def _checked(self, reply: Any, *, writing: bool) -> Any:
        if isinstance(reply, Exception) and (writing or not is_wrong_type(reply)):
            raise mapped(reply, self._settings.label, writing=writing) from reply
        return reply

    def close(self) -> None:
        self._link.close()
