"""
The backend against a model, in sequences that hypothesis makes up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection, Iterator, Sequence
from typing import TypeVar

from ..._backends.backend import Backend as SyncBackend
from ..._backends.backend import Capability, Unless
from ..._record.meta import ResultMeta
from ...aio import Backend
from ..machine import check
from ..promises import promise
from .case import AioCase

T = TypeVar("T")


class Blocking(SyncBackend[ResultMeta]):
    """
    A backend for asyncio, driven step by step in a loop of its own.
    """

    def __init__(self, backend: Backend[ResultMeta], runner: asyncio.Runner) -> None:
        self.backend = backend
        self._runner = runner

    @property
    def capabilities(self) -> Capability:  # type: ignore[override]
        """
        Those of the backend.
        """
        return self.backend.capabilities

    def _run(self, awaitable: Awaitable[T]) -> T:
        async def wait() -> T:
            return await awaitable

        return self._runner.run(wait())

    def put(
        self,
        key: str,
        value: ResultMeta,
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> bool:
        put = self.backend.put
        return self._run(put(key, value, unless=unless, if_match=if_match, expires=expires))

    def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        return self._run(self.backend.put_many(items, unless=unless, expires=expires))

    def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        return self._run(self.backend.get_many(keys))

    def delete_many(self, keys: Collection[str]) -> int:
        return self._run(self.backend.delete_many(keys))

    def scan(self, prefix: str = "") -> Iterator[str]:
        async def all_of(found: AsyncIterator[str]) -> list[str]:
            return [key async for key in found]

        return iter(self._run(all_of(self.backend.scan(prefix))))

    def purge(self) -> int:
        return self._run(self.backend.purge())


class Modelled(AioCase):
    """
    Promises 1, 3 and 7, in any order.
    """

    @promise(1, 3, 7)
    async def test_model(self) -> None:
        """
        Whatever is put, matched, read, deleted, scanned and expired, in whatever order, comes to
        the same as in a dict.
        """

        def run() -> None:
            results = self.aio_results()
            with asyncio.Runner() as runner:
                check(Blocking(results.backend, runner))
                runner.run(results.close())

        await asyncio.to_thread(run)
