"""
Driving operations under asyncio, see `coatcheck._backends.operations`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from .asyncio_backend import Backend
from .backend import Unless
from .logs import Log
from .operations import Operations, adrive

V = TypeVar("V")


class DrivenBackend(Operations[V], Backend[V]):
    """As `coatcheck.plugin.DrivenBackend`, with coroutines."""

    @abstractmethod
    async def _ask(self, request: Any) -> Any:
        """See `coatcheck.plugin.DrivenBackend._ask`."""

    async def put(
        self,
        key: str,
        value: V,
        *,
        unless: Unless,
        if_match: V | None = None,
        expires: float | None,
    ) -> bool:
        return await adrive(self._put(key, value, unless, if_match, expires), self._ask)

    async def put_many(
        self, items: Sequence[tuple[str, V]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        return await adrive(self._put_many(items, unless, expires), self._ask)

    async def get_many(self, keys: Collection[str]) -> dict[str, V]:
        return await adrive(self._get_many(keys), self._ask)

    async def delete_many(self, keys: Collection[str]) -> int:
        return await adrive(self._delete_many(keys), self._ask)

    async def append(
        self,
        key: str,
        value: V,
        events: Sequence[bytes],
        *,
        unless: Unless,
        if_match: V | None = None,
        expires: float | None,
    ) -> int | None:
        return await adrive(self._append(key, value, events, unless, if_match, expires), self._ask)

    async def get_log(self, key: str, after: int = 0) -> Log:
        return await adrive(self._get_log(key, after), self._ask)
