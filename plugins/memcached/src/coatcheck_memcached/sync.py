"""
The Memcached backend.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Self

from coatcheck import Capability, KeyValueBackend
from coatcheck.errors import BackendUnavailableError, PartlyUnavailableError
from coatcheck.plugin import URL, Unless, batches

from .celerysettings import celery_options
from .link import Link
from .names import name_of
from .pool import Pool
from .settings import Settings
from .steps import MARGIN, SOMETHING, Delete, Mark, Read, Step, Write, Writes

CAPABILITIES: Final = Capability.TTL | Capability.SHARED


class MemcachedBackend(KeyValueBackend):
    """
    Records as items, for as long as the server does not evict them. The first ready one is
    elected by `add`, and over what is there by `cas`.

    Waits look by themselves: Memcached tells nobody what is written.
    """

    PROTOCOL_VERSION = 1
    capabilities = CAPABILITIES
    #: A whole second, and the margin for the server's clock.
    expires_resolution = MARGIN + 1.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._link = Link(settings)
        self.spread = len(settings.places) > 1
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
        The largest record that all servers take of which that is known: each says so when it is
        connected to, which is before anything is sent to it. Can be set to less.
        """
        own, theirs = self._max_value_bytes, self._link.max_value_bytes
        return theirs if own is None else own if theirs is None else min(own, theirs)

    @max_value_bytes.setter
    def max_value_bytes(self, limit: int | None) -> None:
        self._max_value_bytes = limit

    @property
    def trouble(self) -> Exception | None:
        """
        The error for which an operation is being repeated just now.
        """
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
        name = name_of(key)
        write = self._write(name, value, unless, if_match, expires)
        self._link.run_at(self._link.pool_of(name), write)
        return self._has_won(write)

    def put_many(
        self, items: Sequence[tuple[str, bytes]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        by_pool: dict[Pool, list[Write]] = {}
        writes = []
        for key, value in items:
            name = name_of(key)
            writes.append(write := self._write(name, value, unless, None, expires))
            by_pool.setdefault(self._link.pool_of(name), []).append(write)
        self._run({pool: Writes(some) for pool, some in by_pool.items()})
        return [self._has_won(write) for write in writes]

    def _write(
        self,
        name: str,
        value: bytes,
        unless: Unless,
        if_match: bytes | None,
        expires: float | None,
    ) -> Write:
        # What was written before is likely there: a task that starts here also ends here. Where
        # nothing is protected nobody asks.
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
            by_pool: dict[Pool, set[str]] = {}
            for key in batch:
                name = name_of(key)
                self._written.discard(name)
                by_pool.setdefault(self._link.pool_of(name), set()).add(name)
            deletions = {pool: Delete(names) for pool, names in by_pool.items()}
            self._run(deletions)
            deleted += sum(deletion.count for deletion in deletions.values())
        return deleted

    # -- reading --------------------------------------------------------------------------

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        if len(keys) == 1:
            (key,) = keys
            name = name_of(key)
            read = Read({name: key})
            self._link.run_at(self._link.pool_of(name), read)
            return read.found
        done: list[Read] = []
        for batch in batches(keys):
            reads = self._reads(batch)
            try:
                self._run(reads)
            except BackendUnavailableError as error:
                done += [read for read in reads.values() if read.done]
                if not done:
                    raise
                raise _partly(error, done, keys) from error.__cause__
            done += reads.values()
        return _found(done)

    def _reads(self, keys: Collection[str]) -> dict[Pool, Read]:
        by_pool: dict[Pool, dict[str, str]] = {}
        for key in keys:
            name = name_of(key)
            by_pool.setdefault(self._link.pool_of(name), {})[name] = key
        return {pool: Read(key_of) for pool, key_of in by_pool.items()}

    def _run(self, work: Mapping[Pool, Step]) -> None:
        if len(work) == 1:
            ((pool, step),) = work.items()
            self._link.run_at(pool, step)
        else:
            self._link.run(work)

    def close(self) -> None:
        self._link.close()


def _found(reads: Sequence[Read]) -> dict[str, bytes]:
    return reads[0].found if len(reads) == 1 else {k: v for r in reads for k, v in r.found.items()}


def _partly(
    error: BackendUnavailableError, done: Sequence[Read], keys: Collection[str]
) -> PartlyUnavailableError:
    unread = set(keys).difference(*(read.keys for read in done))
    return PartlyUnavailableError(str(error), found=_found(done), unread=unread)


class Recent:
    """
    What was written last, under some thousands of names. Shared by threads.
    """

    #: It remembers as many at least, and twice as many at most.
    LIMIT = 4_096

    def __init__(self) -> None:
        self._new: dict[str, Mark] = {}
        self._old: dict[str, Mark] = {}

    def get(self, name: str) -> Mark | None:
        """
        Return what was written under *name*, as far as that is remembered.
        """
        return self._new.get(name) or self._old.get(name)

    def put(self, name: str, mark: Mark) -> None:
        """
        Remember what was written under *name*.
        """
        new = self._new
        new[name] = mark
        if len(new) > self.LIMIT:
            self._old, self._new = new, {}

    def discard(self, name: str) -> None:
        """
        Forget *name*.
        """
        self._new.pop(name, None)
        self._old.pop(name, None)
