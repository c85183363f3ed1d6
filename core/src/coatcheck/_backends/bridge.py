"""
A sync backend for asyncio: its operations in a few threads, its bell in one more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from .._record.groups import Tree
from .._record.meta import ResultMeta
from .._runtime import forks
from .._runtime.crew import Crew
from . import backend as sync
from . import bells
from .asyncio_backend import Backend
from .asyncio_bells import Bell
from .backend import Tally, Unless
from .logs import Log
from .portions import BATCH
from .query import Query
from .wrapper import Wrapper

T = TypeVar("T")


class ThreadedBackend(Wrapper, Backend[ResultMeta], to="backend"):
    """Runs a sync backend in threads. A wait costs no thread: all waits share one bell."""

    #: Operations that go on at the same time; further ones wait for their turn.
    THREADS = 8

    def __init__(self, backend: sync.Backend[ResultMeta]) -> None:
        self.backend = backend
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        # Its threads start with the first operations, and end when it is collected.
        self._crew = Crew(self.THREADS, "coatcheck")

    async def _run(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        forks.check()
        return await self._crew.run(partial(function, *args, **options))

    async def put(
        self,
        key: str,
        value: ResultMeta,
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> bool:
        return await self._run(
            self.backend.put, key, value, unless=unless, if_match=if_match, expires=expires
        )

    async def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        return await self._run(self.backend.put_many, items, unless=unless, expires=expires)

    async def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        return await self._run(self.backend.get_many, keys)

    async def delete_many(self, keys: Collection[str]) -> int:
        return await self._run(self.backend.delete_many, keys)

    async def append(
        self,
        key: str,
        value: ResultMeta,
        events: Sequence[bytes],
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> int | None:
        return await self._run(
            self.backend.append,
            key,
            value,
            events,
            unless=unless,
            if_match=if_match,
            expires=expires,
        )

    async def get_log(self, key: str, after: int = 0) -> Log:
        return await self._run(self.backend.get_log, key, after)

    @asynccontextmanager
    async def watch(self, keys: Collection[str] = ()) -> AsyncIterator[Bell]:
        context = self.backend.watch(keys)
        crew = Crew(1, "coatcheck-bell")
        bell = ThreadedBell(await crew.run(context.__enter__), crew)
        try:
            yield bell
        finally:
            # Without waiting. If the loop was lost, the garbage collector comes here, in any thread.
            bell.wake()
            crew.end(partial(context.__exit__, None, None, None))

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return self._each(self.backend.scan, prefix)

    def find(self, query: Query) -> AsyncIterator[str]:
        return self._each(self.backend.find, query)

    async def _each(self, scan: Callable[..., Iterator[str]], *what: object) -> AsyncIterator[str]:
        keys = await self._run(scan, *what)
        while batch := await self._run(_take, keys):
            for key in batch:
                yield key

    async def lives(
        self, keys: Collection[str], *, groups: bool = False
    ) -> dict[str, float | None]:
        return await self._run(self.backend.lives, keys, groups=groups)

    async def tally(self, moments: Sequence[datetime]) -> Tally | None:
        return await self._run(self.backend.tally, moments)

    async def put_group(
        self, group_id: str, task_ids: Sequence[str], *, expires: float | None
    ) -> None:
        await self._run(self.backend.put_group, group_id, task_ids, expires=expires)

    async def get_group(self, group_id: str) -> list[str] | None:
        return await self._run(self.backend.get_group, group_id)

    async def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        await self._run(self.backend.put_group_tree, group_id, tree, expires=expires)

    async def get_group_tree(self, group_id: str) -> Tree | None:
        return await self._run(self.backend.get_group_tree, group_id)

    async def delete_group(self, group_id: str) -> bool:
        return await self._run(self.backend.delete_group, group_id)

    def scan_groups(self) -> AsyncIterator[str]:
        return self._each(self.backend.scan_groups)

    async def purge(self) -> int:
        return await self._run(self.backend.purge)

    async def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        return await self._run(self.backend.purge_others, age, prefixes)

    async def close(self) -> None:
        await self._run(self.backend.close)
        # Not shut down: another loop may be about to use it. Its threads end with it.
        self.after_fork()


def _take(keys: Any) -> list[str]:
    return [key for _, key in zip(range(BATCH), keys, strict=False)]


class ThreadedBell(Wrapper, Bell, to="_bell"):
    """A sync bell that waits in a thread of its own."""

    def __init__(self, bell: bells.Bell, crew: Crew) -> None:
        self._bell = bell
        self._crew = crew

    async def add(self, keys: Collection[str]) -> None:
        await self._crew.run(partial(self._bell.add, keys))

    async def discard(self, keys: Iterable[str]) -> None:
        await self._crew.run(partial(self._bell.discard, list(keys)))

    async def wait(self, timeout: float) -> Collection[str]:
        return await self._crew.run(partial(self._bell.wait, timeout))
