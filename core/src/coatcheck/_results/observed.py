"""
A backend that tells the hooks about each operation of another one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from .._backends.backend import Backend, Capability, Unless
from .._backends.bells import Bell
from .._coding.codec import Codec
from .._record.groups import Tree
from .._record.meta import ResultMeta
from .._runtime.clocks import monotonic
from .hooks import Hooks

T = TypeVar("T")


class ObservedBackend(Backend[ResultMeta]):
    """
    Does the same as *backend*, and tells the hooks.
    """

    def __init__(self, backend: Backend[ResultMeta], hooks: Hooks) -> None:
        self.backend = backend
        self.codec: Codec = backend.codec
        self._hooks = hooks

    @property
    def capabilities(self) -> Capability:  # type: ignore[override]
        """
        Those of the backend.
        """
        return self.backend.capabilities

    @property
    def trouble(self) -> Exception | None:  # type: ignore[override]
        """
        That of the backend.
        """
        return self.backend.trouble

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
        won, seconds = self._timed(
            "store",
            lambda: self.backend.put(key, value, unless=unless, if_match=if_match, expires=expires),
        )
        self._hooks.call("stored", meta=value, won=won, seconds=seconds)
        return won

    def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        answers, seconds = self._timed(
            "store", lambda: self.backend.put_many(items, unless=unless, expires=expires)
        )
        for (_, meta), won in zip(items, answers, strict=True):
            self._hooks.call("stored", meta=meta, won=won, seconds=seconds)
        return answers

    def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        metas, seconds = self._timed("read", lambda: self.backend.get_many(keys))
        self._hooks.call("read", metas=metas, asked=len(keys), seconds=seconds)
        return metas

    def delete_many(self, keys: Collection[str]) -> int:
        count, seconds = self._timed("forget", lambda: self.backend.delete_many(keys))
        self._hooks.call("forgotten", task_ids=list(keys), count=count, seconds=seconds)
        return count

    def watch(self, keys: Collection[str] = ()) -> AbstractContextManager[Bell]:
        return self.backend.watch(keys)

    def scan(self, prefix: str = "") -> Iterator[str]:
        return self.backend.scan(prefix)

    def scan_state(self, state: str, prefix: str = "") -> Iterator[str]:
        return self.backend.scan_state(state, prefix)

    def put_group(self, group_id: str, task_ids: Sequence[str], *, expires: float | None) -> None:
        self.backend.put_group(group_id, task_ids, expires=expires)

    def get_group(self, group_id: str) -> list[str] | None:
        return self.backend.get_group(group_id)

    def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        self.backend.put_group_tree(group_id, tree, expires=expires)

    def get_group_tree(self, group_id: str) -> Tree | None:
        return self.backend.get_group_tree(group_id)

    def delete_group(self, group_id: str) -> bool:
        return self.backend.delete_group(group_id)

    def purge(self) -> int:
        return self.backend.purge()

    @property
    def keeps_others(self) -> bool:  # type: ignore[override]
        """
        That of the backend.
        """
        return self.backend.keeps_others

    def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        return self.backend.purge_others(age, prefixes)

    def close(self) -> None:
        self.backend.close()


def observed_wait(
    metas: Generator[ResultMeta, None, None], hooks: Hooks
) -> Generator[ResultMeta, None, None]:
    """
    Iterate over *metas*, and tell the hooks how long each took to come.
    """
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
