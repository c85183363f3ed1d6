"""
An asyncio backend for synchronous code: its operations and its bell on one loop in a thread.

Only keys, bytes and records cross over. Encoding and decoding stay with the caller, and so do the
waits of his threads: their deadlines do not depend on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from .._record.groups import Tree
from .._runtime import forks
from .._runtime.loopthread import LOOPS, Loop
from . import asyncio_backend as aio
from . import asyncio_bells, bells
from .backend import Backend, KeyValueBackend, Tally, Unless
from .logs import Log
from .portions import BATCH
from .query import Query
from .wrapper import Wrapper

T = TypeVar("T")
V = TypeVar("V")


class LoopBackend(Wrapper, Backend[V], to="native"):
    """
    Runs an asyncio backend on the loop that all of them share in this process.

    The thread of the loop starts with the first operation. It ends when every backend on it was
    closed or dropped. An operation whose caller a signal handler interrupts is cancelled.
    """

    PROTOCOL_VERSION = 1

    def __init__(self, native: aio.Backend[V]) -> None:
        #: The asyncio backend.
        self.native = native
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        self._loop: Loop | None = None

    @property
    def trouble(self) -> Exception | None:
        """That of the asyncio backend, on the loop; `None` where there is none yet."""
        return self._asked("trouble")

    @property
    def polling(self) -> Exception | None:
        """That of the asyncio backend, on the loop; `None` where there is none yet."""
        return self._asked("polling")

    def _asked(self, name: str) -> Exception | None:
        async def asked() -> Exception | None:
            found: Exception | None = getattr(self.native, name)
            return found

        forks.check()
        return None if self._loop is None else self._loop.run(asked)

    # -- the loop -------------------------------------------------------------------------

    def _share(self) -> Loop:
        forks.check()
        loop = self._loop
        if loop is None:
            loop = self._loop = LOOPS.share()
        return loop

    def _run(self, act: Callable[..., Coroutine[Any, Any, T]], *args: Any, **options: Any) -> T:
        return self._share().run(partial(act, *args, **options))

    def close(self) -> None:
        forks.check()
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.run(self.native.close)
            thread = loop.thread
            del loop
            thread.join()

    # -- records --------------------------------------------------------------------------

    def put(
        self,
        key: str,
        value: V,
        *,
        unless: Unless,
        if_match: V | None = None,
        expires: float | None,
    ) -> bool:
        return self._run(
            self.native.put, key, value, unless=unless, if_match=if_match, expires=expires
        )

    def put_many(
        self, items: Sequence[tuple[str, V]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        return self._run(self.native.put_many, items, unless=unless, expires=expires)

    def get_many(self, keys: Collection[str]) -> dict[str, V]:
        return self._run(self.native.get_many, keys)

    def delete_many(self, keys: Collection[str]) -> int:
        return self._run(self.native.delete_many, keys)

    def append(
        self,
        key: str,
        value: V,
        events: Sequence[bytes],
        *,
        unless: Unless,
        if_match: V | None = None,
        expires: float | None,
    ) -> int | None:
        return self._run(
            self.native.append,
            key,
            value,
            events,
            unless=unless,
            if_match=if_match,
            expires=expires,
        )

    def get_log(self, key: str, after: int = 0) -> Log:
        return self._run(self.native.get_log, key, after)

    @contextmanager
    def watch(self, keys: Collection[str] = ()) -> Iterator[bells.Bell]:
        loop, leaving = self._share(), asyncio.Event()
        entered: list[asyncio_bells.Bell] = []

        async def hold() -> None:
            # One task from entry to exit, as cancel scopes and task groups demand.
            async with self.native.watch(keys) as bell:
                entered.append(bell)
                call.ring()
                await leaving.wait()

        call = loop.call(hold)
        try:
            loop.tell(call.begin)
            call.sleep()
            if not entered:
                call.answer()
            yield LoopBell(entered[0], loop)
        finally:
            # Without waiting: the garbage collector may come here on the loop itself.
            loop.tell(leaving.set if entered else call.cancel)

    def scan(self, prefix: str = "") -> Iterator[str]:
        return self._each(self.native.scan(prefix))

    def find(self, query: Query) -> Iterator[str]:
        return self._each(self.native.find(query))

    def _each(self, keys: AsyncIterator[str]) -> Iterator[str]:
        while batch := self._run(_take, keys):
            yield from batch

    def lives(self, keys: Collection[str], *, groups: bool = False) -> dict[str, float | None]:
        return self._run(self.native.lives, keys, groups=groups)

    def tally(self, moments: Sequence[datetime]) -> Tally | None:
        return self._run(self.native.tally, moments)

    # -- groups and clearing up -----------------------------------------------------------

    def put_group(self, group_id: str, task_ids: Sequence[str], *, expires: float | None) -> None:
        self._run(self.native.put_group, group_id, task_ids, expires=expires)

    def get_group(self, group_id: str) -> list[str] | None:
        return self._run(self.native.get_group, group_id)

    def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        self._run(self.native.put_group_tree, group_id, tree, expires=expires)

    def get_group_tree(self, group_id: str) -> Tree | None:
        return self._run(self.native.get_group_tree, group_id)

    def delete_group(self, group_id: str) -> bool:
        return self._run(self.native.delete_group, group_id)

    def scan_groups(self) -> Iterator[str]:
        return self._each(self.native.scan_groups())

    def purge(self) -> int:
        return self._run(self.native.purge)

    def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        return self._run(self.native.purge_others, age, prefixes)


class LoopKeyValueBackend(LoopBackend[bytes], KeyValueBackend):
    """The same for a store that speaks keys and bytes."""


class LoopBell(Wrapper, bells.Bell, to="_bell"):
    """An asyncio bell, for a thread."""

    def __init__(self, bell: asyncio_bells.Bell, loop: Loop) -> None:
        self._bell = bell
        self._loop = loop

    def add(self, keys: Collection[str]) -> None:
        self._loop.run(partial(self._bell.add, keys))

    def discard(self, keys: Iterable[str]) -> None:
        self._loop.run(partial(self._bell.discard, list(keys)))

    def wait(self, timeout: float) -> Collection[str]:
        return self._loop.run(partial(self._bell.wait, timeout))

    def wake(self) -> None:
        self._loop.tell(self._bell.wake)


def on_loop(native: aio.Backend[Any]) -> Backend[Any]:
    """
    Return a backend for synchronous code that runs the asyncio backend *native* on a loop in a
    thread. No I/O. One loop serves all such backends of a process.
    """
    return (
        LoopKeyValueBackend(native)
        if isinstance(native, aio.KeyValueBackend)
        else LoopBackend(native)
    )


async def _take(keys: AsyncIterator[str]) -> list[str]:
    taken = []
    async for key in keys:
        taken.append(key)
        if len(taken) == BATCH:
            break
    return taken
