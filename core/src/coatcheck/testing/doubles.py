"""
Doubles for tests of code that uses a backend: a clock, and backends that fail, stall, or never ring.

A double holds a real backend and differs from it in one way only.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from .._backends.backend import Capability, KeyValueBackend, Unless
from .._backends.bells import Bell
from .._backends.wrapper import Wrapper
from .._embedded.memory import MemoryBackend
from ..errors import BackendUnavailableError


class FakeClock:
    """A clock to turn by hand. Replaces the functions of `time` by name."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self._now = now

    def monotonic(self) -> float:
        return self._now

    def time(self) -> float:
        """Return the same seconds, since 1970."""
        return self._now

    def now(self) -> datetime:
        """Return the same moment, in UTC."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=self._now)

    def sleep(self, seconds: float) -> None:
        self._now += seconds


class Wrapping(Wrapper, KeyValueBackend, to="wrapped"):
    """Passes all calls to its backend, by default one in memory."""

    PROTOCOL_VERSION: ClassVar[int] = 1

    def __init__(self, backend: KeyValueBackend | None = None) -> None:
        self.wrapped: KeyValueBackend = MemoryBackend() if backend is None else backend

    def put(
        self,
        key: str,
        value: bytes,
        *,
        unless: Unless,
        if_match: bytes | None = None,
        expires: float | None,
    ) -> bool:
        return self.wrapped.put(key, value, unless=unless, if_match=if_match, expires=expires)

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        return self.wrapped.get_many(keys)

    def delete_many(self, keys: Collection[str]) -> int:
        return self.wrapped.delete_many(keys)


class Quiet(Wrapping):
    """Never rings, and counts the reads in `looks`."""

    looks: int = 0

    @property
    def capabilities(self) -> Capability:  # type: ignore[override]
        return self.wrapped.capabilities & ~Capability.PUSH

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        self.looks += 1
        return super().get_many(keys)

    def watch(self, keys: Collection[str] = ()) -> AbstractContextManager[Bell]:
        return KeyValueBackend.watch(self, keys)


class Failing(Wrapping):
    """Raises `error` from the operations named, until `error` is `None`."""

    def __init__(
        self,
        backend: KeyValueBackend | None = None,
        *,
        error: Exception | None = None,
        operations: Collection[str] = ("get_many",),
    ) -> None:
        super().__init__(backend)
        self.error = BackendUnavailableError("away") if error is None else error
        self.operations: frozenset[str] = frozenset(operations)

    error: Exception | None

    def _check(self, operation: str) -> None:
        if self.error is not None and operation in self.operations:
            raise self.error

    def put(self, key: str, value: bytes, **how: Any) -> bool:
        self._check("put")
        return super().put(key, value, **how)

    def put_many(self, items: Sequence[tuple[str, bytes]], **how: Any) -> list[bool]:
        self._check("put_many")
        return super().put_many(items, **how)

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        self._check("get_many")
        return super().get_many(keys)

    def delete_many(self, keys: Collection[str]) -> int:
        self._check("delete_many")
        return super().delete_many(keys)

    def watch(self, keys: Collection[str] = ()) -> AbstractContextManager[Bell]:
        self._check("watch")
        return super().watch(keys)


class Stalling(Wrapping):
    """Does not answer reads until `answer` is set, for *patience* seconds at most."""

    def __init__(self, backend: KeyValueBackend | None = None, *, patience: float = 30.0) -> None:
        super().__init__(backend)
        self.answer: threading.Event = threading.Event()
        self._patience = patience

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        self.answer.wait(self._patience)
        return super().get_many(keys)
