"""
A sync backend for asyncio: its operations in a few threads, its bell in one more.
"""

from __future__ import annotations

import _thread
import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar

from .._record.groups import Tree
from .._record.meta import ResultMeta
from .._runtime import forks
from .._runtime.interruptions import pass_on_interruption
from ..errors import ThreadStartError
from . import backend as sync
from . import bells
from .asyncio_backend import Backend
from .asyncio_bells import Bell
from .backend import Unless
from .portions import BATCH
from .wrapper import Wrapper

T = TypeVar("T")

#: Seconds between tries to start a thread while others are at work.
PAUSE: Final = 0.01


class ThreadedBackend(Wrapper, Backend[ResultMeta], to="backend"):
    """
    Runs a sync backend in threads. A wait costs no thread: all waits share one bell.
    """

    #: Operations that go on at the same time; further ones wait for their turn.
    THREADS = 8

    def __init__(self, backend: sync.Backend[ResultMeta]) -> None:
        self.backend = backend
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        # Threads start with the first operation, and end when the executor is collected.
        self._executor = ThreadPoolExecutor(self.THREADS, thread_name_prefix="coatcheck")
        self._under_way: set[asyncio.Future[Any]] = set()

    async def _run(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        forks.check()
        under_way = self._under_way
        running = await self._submitted(lambda: function(*args, **options))
        under_way.add(running)
        try:
            return await running
        finally:
            under_way.discard(running)

    async def _submitted(self, call: Callable[[], T]) -> asyncio.Future[T]:
        while True:
            try:
                return submit(self._executor, call)
            except ThreadStartError:
                if not self._under_way:
                    raise
                await asyncio.sleep(PAUSE)  # the running calls will free a thread

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

    @asynccontextmanager
    async def watch(self, keys: Collection[str] = ()) -> AsyncIterator[Bell]:
        context = self.backend.watch(keys)
        thread = ThreadPoolExecutor(1, thread_name_prefix="coatcheck-bell")
        try:
            bell = ThreadedBell(await submit(thread, context.__enter__), thread)
        except BaseException:
            thread.shutdown()
            raise

        def end() -> None:
            bell.wake()
            thread.submit(context.__exit__, None, None, None)
            thread.shutdown()

        try:
            yield bell
        except GeneratorExit:
            # The loop was lost, and the garbage collector came, perhaps within a submission whose lock
            # this thread holds.
            _thread.start_new_thread(end, ())
            raise
        except BaseException:
            end()
            raise
        end()

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return self._each(self.backend.scan, prefix)

    def scan_state(self, state: str, prefix: str = "") -> AsyncIterator[str]:
        return self._each(self.backend.scan_state, state, prefix)

    async def _each(self, scan: Callable[..., Iterator[str]], *what: str) -> AsyncIterator[str]:
        keys = await self._run(scan, *what)
        while batch := await self._run(_take, keys):
            for key in batch:
                yield key

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


class _Job(Generic[T]):
    """
    A call for an executor, which can be taken back.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._calls = [call]

    def __call__(self) -> T:
        return self._calls.pop()()

    def take_back(self) -> None:
        """
        Do nothing, unless it is under way.
        """
        self._calls.clear()


def submit(executor: ThreadPoolExecutor, call: Callable[[], T]) -> asyncio.Future[T]:
    """
    Have *call* called in a thread of *executor*. Raises `ThreadStartError` where there can be none.
    """
    job = _Job(call)
    try:
        return asyncio.get_running_loop().run_in_executor(executor, job)
    except (RuntimeError, MemoryError) as error:
        pass_on_interruption(error)
        job.take_back()  # the executor kept it for the next thread that it starts
        raise ThreadStartError("coatcheck", error) from error


class ThreadedBell(Wrapper, Bell, to="_bell"):
    """
    A sync bell that waits in a thread of its own.
    """

    def __init__(self, bell: bells.Bell, thread: ThreadPoolExecutor) -> None:
        self._bell = bell
        self._thread = thread

    async def _run(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def add(self, keys: Collection[str]) -> None:
        await self._run(self._bell.add, keys)

    async def discard(self, keys: Iterable[str]) -> None:
        await self._run(self._bell.discard, list(keys))

    async def wait(self, timeout: float) -> Collection[str]:
        return await self._run(self._bell.wait, timeout)
