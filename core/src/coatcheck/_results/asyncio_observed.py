"""
A backend for asyncio that is watched, see `coatcheck._results.observed`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from .._backends.asyncio_backend import Backend
from .._backends.asyncio_bells import Bell
from .._backends.backend import Capability, Unless
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

    async def _timed(self, operation: str, call: Awaitable[T]) -> tuple[T, float]:
        start = monotonic()
        try:
            answer = await call
        except Exception as error:
            seconds = monotonic() - start
            self._hooks.call("failed", operation=operation, error=error, seconds=seconds)
            raise
        return answer, monotonic() - start

    async def put(
        self,
        key: str,
        value: ResultMeta,
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> bool:
        won, seconds = await self._timed(
            "store",
            self.backend.put(key, value, unless=unless, if_match=if_match, expires=expires),
        )
        self._hooks.call("stored", meta=value, won=won, seconds=seconds)
        return won

    async def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        answers, seconds = await self._timed(
            "store", self.backend.put_many(items, unless=unless, expires=expires)
        )
        for (_, meta), won in zip(items, answers, strict=True):
            self._hooks.call("stored", meta=meta, won=won, seconds=seconds)
        return answers

    async def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        metas, seconds = await self._timed("read", self.backend.get_many(keys))
        self._hooks.call("read", metas=metas, asked=len(keys), seconds=seconds)
        return metas

    async def delete_many(self, keys: Collection[str]) -> int:
        count, seconds = await self._timed("forget", self.backend.delete_many(keys))
        self._hooks.call("forgotten", task_ids=list(keys), count=count, seconds=seconds)
        return count

    def watch(self, keys: Collection[str] = ()) -> AbstractAsyncContextManager[Bell]:
        return self.backend.watch(keys)

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return self.backend.scan(prefix)

    def scan_state(self, state: str, prefix: str = "") -> AsyncIterator[str]:
        return self.backend.scan_state(state, prefix)

    async def put_group(
        self, group_id: str, task_ids: Sequence[str], *, expires: float | None
    ) -> None:
        await self.backend.put_group(group_id, task_ids, expires=expires)

    async def get_group(self, group_id: str) -> list[str] | None:
        return await self.backend.get_group(group_id)

    async def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        await self.backend.put_group_tree(group_id, tree, expires=expires)

    async def get_group_tree(self, group_id: str) -> Tree | None:
        return await self.backend.get_group_tree(group_id)

    async def delete_group(self, group_id: str) -> bool:
        return await self.backend.delete_group(group_id)

    async def purge(self) -> int:
        return await self.backend.purge()

    @property
    def keeps_others(self) -> bool:  # type: ignore[override]
        """
        That of the backend.
        """
        return self.backend.keeps_others

    async def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        return await self.backend.purge_others(age, prefixes)

    async def close(self) -> None:
        await self.backend.close()


async def observed_wait(
    metas: AsyncGenerator[ResultMeta, None], hooks: Hooks
) -> AsyncGenerator[ResultMeta, None]:
    """
    Iterate over *metas*, and tell the hooks how long each took to come.
    """
    start = monotonic()
    try:
        async for meta in metas:
            hooks.call("waited", meta=meta, seconds=monotonic() - start)
            yield meta
    except Exception as error:
        seconds = monotonic() - start
        hooks.call("failed", operation="wait", error=error, seconds=seconds)
        raise
    finally:
        await metas.aclose()
