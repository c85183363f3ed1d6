"""
`memory://`: records in this process, for tests and programs of one process.

`memory://` is one store for the whole process, `memory://name` another one, so that the code
that stores and the code that waits meet by the URL, sync or async.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Self

from .._backends.backend import ANY, Capability, KeyValueBackend, Unless
from .._backends.bells import Bell, LocalBell
from .._runtime import forks
from .._runtime.clocks import monotonic
from .._settings.options import read_options
from .._settings.url import URL


class _Space:
    """The records of one name, and the bells to ring. Times are monotonic."""

    def __init__(self) -> None:
        self.records: dict[str, tuple[bytes, float]] = {}
        self.bells: frozenset[LocalBell] = frozenset()
        self.lock = threading.Lock()
        forks.register(self)

    def after_fork(self) -> None:
        self.lock = threading.Lock()
        self.bells = frozenset()

    def living(self, key: str, now: float) -> bytes | None:
        value, until = self.records.get(key, (None, 0.0))
        return value if until > now else None


_spaces: dict[str, _Space] = {}


class MemoryBackend(KeyValueBackend):
    """Keeps records in a dict. Expired ones are removed by later writes."""

    PROTOCOL_VERSION: ClassVar[int] = 1
    capabilities: Capability = Capability.PUSH | Capability.TTL | Capability.SCAN
    #: Each time after this many writes, expired records are looked for.
    SWEEP_EVERY = 1000

    def __init__(self, name: str | None = None) -> None:
        self._space = _Space() if name is None else _spaces.setdefault(name, _Space())
        self._writes = 0

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        del operation_timeout  # nothing here takes time
        read_options({**url.query, **(options or {})}, {}, where=f"{url.scheme}://")
        return cls(url.rest)

    def put(
        self,
        key: str,
        value: bytes,
        *,
        unless: Unless,
        if_match: bytes | None = None,
        expires: float | None,
    ) -> bool:
        forks.check()
        space = self._space
        now = monotonic()
        until = float("inf") if expires is None else now + expires
        with space.lock:
            current = space.living(key, now)
            if if_match is not None:
                allowed = current == if_match
            else:
                allowed = current is None or self._replaceable(current, unless)
            if not allowed:
                return current == value
            space.records[key] = (value, until)
            self._sweep()
            bells = space.bells
        for bell in bells:
            bell.ring(key)
        return True

    def _replaceable(self, current: bytes, unless: Unless) -> bool:
        return unless is not ANY and self.codec.state_of(current) not in unless

    def _sweep(self) -> None:
        self._writes += 1
        if self._writes % self.SWEEP_EVERY == 0:
            self._remove_expired()

    def _remove_expired(self) -> int:
        records, now = self._space.records, monotonic()
        expired = [key for key, (_, until) in records.items() if until <= now]
        for key in expired:
            del records[key]
        return len(expired)

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        # As `_Space.living`, without a call for each key.
        records, now = self._space.records, monotonic()
        return {
            key: found[0]
            for key in keys
            if (found := records.get(key)) is not None and found[1] > now
        }

    def delete_many(self, keys: Collection[str]) -> int:
        forks.check()
        with self._space.lock:
            now = monotonic()
            living = [key for key in set(keys) if self._space.living(key, now) is not None]
            for key in keys:
                self._space.records.pop(key, None)
        return len(living)

    @contextmanager
    def watch(self, keys: Collection[str] = ()) -> Iterator[Bell]:
        forks.check()
        bell = LocalBell()
        bell.add(keys)
        with self._space.lock:
            self._space.bells |= {bell}
        try:
            yield bell
        finally:
            with self._space.lock:
                self._space.bells -= {bell}

    def scan(self, prefix: str = "") -> Iterator[str]:
        keys = [key for key in list(self._space.records) if key.startswith(prefix)]
        return (key for key in keys if self._space.living(key, monotonic()) is not None)

    def purge(self) -> int:
        forks.check()
        with self._space.lock:
            return self._remove_expired()
