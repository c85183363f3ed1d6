"""
The Memcached backend.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from coatcheck import Capability, KeyValueBackend
from coatcheck.errors import BackendUnavailableError, PartlyUnavailableError
from coatcheck.plugin import URL, Unless, batches

from .celerysettings import celery_options
from .link import Link
from .names import name_of
from .pool import Pool
from .recent import SOMETHING, Recent
from .settings import Settings
from .steps import MARGIN, Delete, Read, Write, Writes

if TYPE_CHECKING:
    from coatcheck.plugin import Checkup


class MemcachedBackend(KeyValueBackend):
    """
    Records as items, for as long as the server does not evict them. `add` elects the first ready one, or
    `cas` if an unready one is there.

    Waits poll: Memcached has no notifications.
    """

    PROTOCOL_VERSION = 1
    capabilities = Capability.TTL | Capability.SHARED
    #: A whole second, and the margin for the server's clock.
    expires_resolution = MARGIN + 1.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._link = Link(settings)
        self.spread = len(settings.addresses) > 1
        self._max_value_bytes: int | None = None
        self._written = Recent()

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
        The largest record that all servers take. Each server tells its limit when it is connected to, before
        any record is sent to it. Can be set to less.
        """
        own, theirs = self._max_value_bytes, self._link.max_value_bytes
        return theirs if own is None else own if theirs is None else min(own, theirs)

    @max_value_bytes.setter
    def max_value_bytes(self, limit: int | None) -> None:
        self._max_value_bytes = limit

    @property
    def trouble(self) -> Exception | None:
        return self._link.repeats.trouble

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
        write = self._write(key, value, unless, if_match, expires)
        self._link.run({self._link.pool_of(write.name): write})
        return self._has_won(write)

    def put_many(
        self, items: Sequence[tuple[str, bytes]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        by_pool: dict[Pool, list[Write]] = {}
        writes = [self._write(key, value, unless, None, expires) for key, value in items]
        for write in writes:
            by_pool.setdefault(self._link.pool_of(write.name), []).append(write)
        self._link.run({pool: Writes(some) for pool, some in by_pool.items()})
        return [self._has_won(write) for write in writes]

    def _write(
        self,
        key: str,
        value: bytes,
        unless: Unless,
        if_match: bytes | None,
        expires: float | None,
    ) -> Write:
        name = name_of(key)
        # A record that this process wrote before is likely there: most tasks start and end in the same
        # process. Nobody asks if nothing is protected.
        before = None
        if unless:
            before = self._written.get(name)
            if before is not SOMETHING:
                self._written.put(name, SOMETHING)
        return Write(
            name,
            value,
            self.codec,
            unless=unless,
            if_match=if_match,
            expires=expires,
            before=before,
        )

    def _has_won(self, write: Write) -> bool:
        if write.won and write.mark is not SOMETHING:
            self._written.put(write.name, write.mark)
        return bool(write.won)

    def delete_many(self, keys: Collection[str]) -> int:
        deleted = 0
        for batch in batches(keys):
            key_of = self._by_pool(batch)
            for names in key_of.values():
                for name in names:
                    self._written.discard(name)
            deletions = {pool: Delete(names) for pool, names in key_of.items()}
            self._link.run(deletions)
            deleted += sum(deletion.count for deletion in deletions.values())
        return deleted

    # -- reading --------------------------------------------------------------------------

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        if len(keys) == 1:  # most reads
            (key,) = keys
            name = name_of(key)
            read = Read({name: key})
            self._link.run({self._link.pool_of(name): read})
            return read.found
        done: list[Read] = []
        for batch in batches(keys):
            reads = {pool: Read(key_of) for pool, key_of in self._by_pool(batch).items()}
            try:
                self._link.run(reads)
            except BackendUnavailableError as error:
                done += [read for read in reads.values() if read.done]
                if not done:
                    raise
                unread = set(keys).difference(*(read.keys for read in done))
                raise PartlyUnavailableError(
                    str(error), found=_found(done), unread=unread
                ) from error.__cause__
            done += reads.values()
        return _found(done)

    def _by_pool(self, keys: Iterable[str]) -> dict[Pool, dict[str, str]]:
        """Return the keys of each server, by their names."""
        by_pool: dict[Pool, dict[str, str]] = {}
        for key in keys:
            name = name_of(key)
            by_pool.setdefault(self._link.pool_of(name), {})[name] = key
        return by_pool

    def checkup(self) -> Checkup:
        from .checkup import MemcachedCheckup  # noqa: PLC0415 - only for the doctor

        return MemcachedCheckup(self._settings, self._link)

    def close(self) -> None:
        self._link.close()


def _found(reads: Sequence[Read]) -> dict[str, bytes]:
    return reads[0].found if len(reads) == 1 else {k: v for r in reads for k, v in r.found.items()}
