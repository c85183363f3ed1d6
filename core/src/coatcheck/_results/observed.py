"""
A backend that tells the hooks about each operation of another one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from typing import TypeVar

from .._backends.backend import Backend, Unless
from .._backends.wrapper import Wrapper
from .._record.meta import ResultMeta
from .._runtime.clocks import monotonic
from .hooks import Hooks

T = TypeVar("T")


class ObservedBackend(Wrapper, Backend[ResultMeta], to="backend"):
    """Passes all operations on to *backend*, and tells the hooks of stores, reads and deletions."""

    def __init__(self, backend: Backend[ResultMeta], hooks: Hooks) -> None:
        self.backend = backend
        self._hooks = hooks

    def _timed(self, operation: str, call: Callable[[], T]) -> tuple[T, float]:
        start = monotonic()
        try:
            answer = call()
        except Exception as error:
            seconds = monotonic() - start
            self._hooks.call("failed", operation=operation, error=error, seconds=seconds)
            raise
        return answer, monotonic() - start

    def put(
        self,
        key: str,
        value: ResultMeta,
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> bool:
        value = self._hooks.in_context(value, self.backend.codec)
        won, seconds = self._timed(
            "store",
            lambda: self.backend.put(key, value, unless=unless, if_match=if_match, expires=expires),
        )
        self._hooks.call("stored", meta=value, won=won, seconds=seconds)
        return won

    def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        codec = self.backend.codec
        items = [(key, self._hooks.in_context(meta, codec)) for key, meta in items]
        answers, seconds = self._timed(
            "store", lambda: self.backend.put_many(items, unless=unless, expires=expires)
        )
        for (_, meta), won in zip(items, answers, strict=True):
            self._hooks.call("stored", meta=meta, won=won, seconds=seconds)
        return answers

    def append(
        self,
        key: str,
        value: ResultMeta,
        events: Sequence[bytes],
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> int | None:
        number, seconds = self._timed(
            "store",
            lambda: self.backend.append(
                key, value, events, unless=unless, if_match=if_match, expires=expires
            ),
        )
        self._hooks.call("stored", meta=value, won=number is not None, seconds=seconds)
        return number

    def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        metas, seconds = self._timed("read", lambda: self.backend.get_many(keys))
        self._hooks.call("read", metas=metas, asked=len(keys), seconds=seconds)
        return metas

    def delete_many(self, keys: Collection[str]) -> int:
        count, seconds = self._timed("forget", lambda: self.backend.delete_many(keys))
        self._hooks.call("forgotten", task_ids=list(keys), count=count, seconds=seconds)
        return count


def observed_wait(
    metas: Generator[ResultMeta, None, None], hooks: Hooks
) -> Generator[ResultMeta, None, None]:
    """Iterate over *metas*, and tell the hooks how long each took to come."""
    start = monotonic()
    try:
        for meta in metas:
            hooks.call("waited", meta=meta, seconds=monotonic() - start)
            yield meta
    except Exception as error:
        seconds = monotonic() - start
        hooks.call("failed", operation="wait", error=error, seconds=seconds)
        raise
    finally:
        metas.close()
