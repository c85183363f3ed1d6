"""
The protocol of backends for asyncio, see `coatcheck._backends.backend`. Optional: a synchronous backend is enough.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from typing import TypeVar

from .._record import groups
from .._record.groups import Tree
from .asyncio_bells import Bell
from .backend import BaseBackend, Capability, Tally, Unless
from .logs import Log
from .query import Query

V = TypeVar("V")


class Backend(BaseBackend[V], ABC):
    """
    As `coatcheck.Backend`, with coroutines.

    One object serves any number of event loops, with connections for each that runs. A
    cancelled operation leaves nothing behind; whether a cancelled `put` took place is open.
    """

    #: See `coatcheck.Backend.keeps_others`.
    keeps_others: bool = False

    @abstractmethod
    async def put(
        self,
        key: str,
        value: V,
        *,
        unless: Unless,
        if_match: V | None = None,
        expires: float | None,
    ) -> bool:
        """See `coatcheck.Backend.put`."""

    @abstractmethod
    async def get_many(self, keys: Collection[str]) -> dict[str, V]:
        """See `coatcheck.Backend.get_many`."""

    @abstractmethod
    async def delete_many(self, keys: Collection[str]) -> int:
        """See `coatcheck.Backend.delete_many`."""

    async def put_many(
        self, items: Sequence[tuple[str, V]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        """See `coatcheck.Backend.put_many`."""
        return [await self.put(key, value, unless=unless, expires=expires) for key, value in items]

    def watch(self, keys: Collection[str] = ()) -> AbstractAsyncContextManager[Bell]:
        """See `coatcheck.Backend.watch`."""
        del keys  # it never rings
        return nullcontext(Bell())

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        """See `coatcheck.Backend.scan`."""
        raise self._lacks(Capability.SCAN, "scan()")

    def find(self, query: Query) -> AsyncIterator[str]:
        """See `coatcheck.Backend.find`."""
        return self.scan(query.prefix)

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
        """See `coatcheck.Backend.append`."""
        raise self._lacks_events()

    async def get_log(self, key: str, after: int = 0) -> Log:
        """See `coatcheck.Backend.get_log`."""
        raise self._lacks_events()

    async def lives(
        self, keys: Collection[str], *, groups: bool = False
    ) -> dict[str, float | None]:
        """See `coatcheck.Backend.lives`."""
        del groups
        return dict.fromkeys(keys)

    async def tally(self, moments: Sequence[datetime]) -> Tally | None:
        """See `coatcheck.Backend.tally`."""
        return None

    async def put_group(
        self, group_id: str, task_ids: Sequence[str], *, expires: float | None
    ) -> None:
        """See `coatcheck.Backend.put_group`."""
        raise self._lacks_groups()

    async def get_group(self, group_id: str) -> list[str] | None:
        """See `coatcheck.Backend.get_group`."""
        raise self._lacks_groups()

    async def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        """See `coatcheck.Backend.put_group_tree`."""
        await self.put_group(group_id, groups.members_of(tree), expires=expires)

    async def get_group_tree(self, group_id: str) -> Tree | None:
        """See `coatcheck.Backend.get_group_tree`."""
        task_ids = await self.get_group(group_id)
        return None if task_ids is None else groups.tree_of(group_id, task_ids)

    async def delete_group(self, group_id: str) -> bool:
        """See `coatcheck.Backend.delete_group`."""
        raise self._lacks_groups()

    def scan_groups(self) -> AsyncIterator[str]:
        """See `coatcheck.Backend.scan_groups`."""
        raise self._lists_no_groups()

    async def purge(self) -> int:
        """See `coatcheck.Backend.purge`."""
        return 0

    async def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        """See `coatcheck.Backend.purge_others`."""
        return 0

    async def close(self) -> None:
        """See `coatcheck.Backend.close`; for the running loop."""


class KeyValueBackend(Backend[bytes]):
    """As `coatcheck.KeyValueBackend`, with coroutines."""
