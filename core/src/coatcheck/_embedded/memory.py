"""
`memory://`: records in this process, for tests and programs of one process.

`memory://` is one store for the whole process, `memory://name` another one, so that the code
that stores and the code that waits meet by the URL, sync or async.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

from .._backends.backend import ANY, Capability, KeyValueBackend, Unless
from .._backends.bells import Bell, LocalBell
from .._backends.logs import LOG_BYTES, LOG_EVENTS, Log
from .._runtime import forks
from .._runtime.clocks import monotonic
from .._settings.options import read_options
from .._settings.url import URL


class _Space:
    """The records of one name, and the bells to ring. Times are monotonic."""

    def __init__(self) -> None:
        self.records: dict[str, tuple[bytes, float]] = {}
        self.logs: dict[str, _Log] = {}
        self.bells: frozenset[LocalBell] = frozenset()
        self.lock = threading.Lock()
        forks.register(self)

    def after_fork(self) -> None:
        self.lock = threading.Lock()
        self.bells = frozenset()

    def living(self, key: str, now: float) -> bytes | None:
        value, until = self.records.get(key, (None, 0.0))
        return value if until > now else None

    def drop(self, key: str) -> None:
        self.records.pop(key, None)
        self.logs.pop(key, None)


class _Log:
    """The events of one task."""

    def __init__(self) -> None:
        self.events: deque[bytes] = deque()
        self.last = self.size = 0

    def append(self, event: bytes) -> None:
        self.events.append(event)
        self.last += 1
        self.size += len(event)
        while len(self.events) > LOG_EVENTS or self.size > LOG_BYTES:
            self.size -= len(self.events.popleft())


_spaces: dict[str, _Space] = {}


class MemoryBackend(KeyValueBackend):
    """Keeps records in a dict. Expired ones are removed by later writes."""

    PROTOCOL_VERSION: ClassVar[int] = 1
    capabilities: Capability = (
        Capability.PUSH | Capability.TTL | Capability.SCAN | Capability.EVENTS
    )
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
        with space.lock:
            current = space.living(key, monotonic())
            if not self._may_store(current, unless, if_match):
                return current == value
            self._store(key, value, current, expires)
        self._ring(key)
        return True

    def _store(self, key: str, value: bytes, current: bytes | None, expires: float | None) -> None:
        if current is None:
            self._space.logs.pop(key, None)
        until = float("inf") if expires is None else monotonic() + expires
        self._space.records[key] = (value, until)
        self._sweep()

    def _ring(self, key: str) -> None:
        for bell in self._space.bells:
            bell.ring(key)

    def append(
        self,
        key: str,
        value: bytes,
        events: Sequence[bytes],
        *,
        unless: Unless,
        if_match: bytes | None = None,
        expires: float | None,
    ) -> int | None:
        forks.check()
        space = self._space
        with space.lock:
            current = space.living(key, monotonic())
            if not self._may_store(current, unless, if_match):
                return None
            self._store(key, value, current, expires)
            log = space.logs.setdefault(key, _Log())
            for event in events:
                log.append(event)
            last = log.last
        self._ring(key)
        return last

    def get_log(self, key: str, after: int = 0) -> Log:
        forks.check()
        with self._space.lock:
            log = self._space.logs.get(key)
            if log is None or self._space.living(key, monotonic()) is None:
                return Log()
            events = list(log.events)
            new = min(max(log.last - after, 0), len(events))
            return Log(events[len(events) - new :], log.last)

    def _may_store(self, current: bytes | None, unless: Unless, if_match: bytes | None) -> bool:
        if if_match is not None:
            return current == if_match
        return current is None or self._replaceable(current, unless)

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
            self._space.drop(key)
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
                self._space.drop(key)
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

    def lives(self, keys: Collection[str], *, groups: bool = False) -> dict[str, float | None]:
        del groups
        records, now = self._space.records, monotonic()
        return {key: found[1] - now for key in keys if (found := records.get(key)) is not None}

    def purge(self) -> int:
        forks.check()
        with self._space.lock:
            return self._remove_expired()
