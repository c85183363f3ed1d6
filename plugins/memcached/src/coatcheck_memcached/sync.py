"""
The Memcached backend.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Self

from coatcheck import Capability, KeyValueBackend
from coatcheck.backend import Unless, batches
from coatcheck.url import URL

from .celerysettings import celery_options
from .link import Link
from .names import name_of
from .pool import Pool
from .settings import Settings
from .steps import MARGIN, Delete, Read, Write, Writes

CAPABILITIES: Final = Capability.TTL | Capability.SHARED


class MemcachedBackend(KeyValueBackend):
    """
    Records as items, for as long as the server does not evict them. The first ready one is
    elected by `add`, and over what is there by `cas`.

    Waits look by themselves: Memcached tells nobody what is written.
    """

    capabilities = CAPABILITIES
    #: A whole second, and the margin for the server's clock.
    expires_resolution = MARGIN + 1.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._link = Link(settings)
        self._max_value_bytes: int | None = None

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        return cls(Settings(url, options or {}, operation_timeout=operation_timeout))

    @classmethod
    def celery_options(cls, url: URL, settings: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return celery_options(url, settings)

    @property
    def max_value_bytes(self) -> int | None:
        """
        The largest record that all servers take of which that is known: each says so when it is
        connected to, which is before anything is sent to it. Can be set to less.
        """
        limits = (self._max_value_bytes, self._link.max_value_bytes)
        return min((limit for limit in limits if limit is not None), default=None)

    @max_value_bytes.setter
    def max_value_bytes(self, limit: int | None) -> None:
        self._max_value_bytes = limit

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
        name = name_of(key)
        write = Write(name.encode(), value, if_match)
        self._elect({self._link.pool_of(name): [write]}, unless, expires)
        return bool(write.won)

    def put_many(
        self, items: Sequence[tuple[str, bytes]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        by_pool: dict[Pool, list[Write]] = {}
        writes = []
        for key, value in items:
            name = name_of(key)
            writes.append(write := Write(name.encode(), value))
            by_pool.setdefault(self._link.pool_of(name), []).append(write)
        if writes:
            self._elect(by_pool, unless, expires)
        return [bool(write.won) for write in writes]

    def _elect(
        self, by_pool: Mapping[Pool, Sequence[Write]], unless: Unless, expires: float | None
    ) -> None:
        elections = {
            pool: Writes(writes, unless=unless, expires=expires, codec=self.codec)
            for pool, writes in by_pool.items()
        }
        self._link.run(elections)
        for pool, election in elections.items():
            election.check(pool.label)

    def delete_many(self, keys: Collection[str]) -> int:
        deleted = 0
        for batch in batches(keys):
            by_pool = self._link.by_pool([name_of(key) for key in batch])
            deletions = {pool: Delete(names) for pool, names in by_pool.items()}
            self._link.run(deletions)
            deleted += sum(deletion.count for deletion in deletions.values())
        return deleted

    # -- reading --------------------------------------------------------------------------

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for batch in batches(keys):
            key_of = {name_of(key): key for key in batch}
            reads = {pool: Read(names) for pool, names in self._link.by_pool(key_of).items()}
            self._link.run(reads)
            for read in reads.values():
                found.update({key_of[name.decode()]: value for name, value in read.found.items()})
        return found

    def close(self) -> None:
        self._link.close()
