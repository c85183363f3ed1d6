"""
Handles for asyncio, see `coatcheck._results.handles`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from .._record.meta import ResultMeta
from .handles import Handle
from .misuse import called

if TYPE_CHECKING:
    from datetime import datetime

    from .asyncio_results import Results

T = TypeVar("T")


class AsyncResult(Handle[T]):
    """
    The same as `coatcheck.AsyncResult`, with coroutine methods for I/O. `await handle` is
    `await handle.get()`.
    """

    __slots__ = ("_results",)

    _elsewhere = "pass its task id and the URL, and call coatcheck.aio.by_url(url).AsyncResult(task_id) there"

    def __init__(self, results: Results, task_id: str, type: Any = None) -> None:  # noqa: A002
        super().__init__(task_id, type)
        self._results = results

    def __repr__(self) -> str:
        return f"<aio.AsyncResult {self.task_id!r}>"

    def __await__(self) -> Generator[Any, Any, T]:
        return self.get().__await__()

    async def meta(self) -> ResultMeta:
        """See `coatcheck.AsyncResult.meta`."""
        if self._meta is not None:
            return self._meta
        return self.remember(await self._results.get_task_meta(self.task_id))

    @called
    async def ready(self) -> bool:
        """See `coatcheck.AsyncResult.ready`."""
        return (await self.meta()).ready

    @called
    async def successful(self) -> bool:
        """See `coatcheck.AsyncResult.successful`."""
        return (await self.meta()).successful

    @called
    async def failed(self) -> bool:
        """See `coatcheck.AsyncResult.failed`."""
        return (await self.meta()).failed

    @called
    async def exists(self) -> bool:
        """See `coatcheck.AsyncResult.exists`."""
        return (await self.meta()).known

    @called
    async def state(self) -> str:
        """See `coatcheck.AsyncResult.state`."""
        return (await self.meta()).status

    @called
    async def status(self) -> str:
        """See `coatcheck.AsyncResult.status`."""
        return await self.state()

    @called
    async def result(self) -> Any:
        """See `coatcheck.AsyncResult.result`."""
        return self._value_of(await self.meta())

    @called
    async def info(self) -> Any:
        """See `coatcheck.AsyncResult.info`."""
        return await self.result()

    @called
    async def traceback(self) -> str | None:
        """See `coatcheck.AsyncResult.traceback`."""
        return (await self.meta()).traceback

    @called
    async def date_done(self) -> datetime | None:
        """See `coatcheck.AsyncResult.date_done`."""
        return (await self.meta()).date_done

    @overload
    async def get(
        self,
        timeout: float | None = None,
        *,
        interval: float | None = None,
        on_interval: Callable[[], object] | None = None,
        missing: Literal["wait", "raise"] = "wait",
        propagate: Literal[True] = True,
        wrap: bool = False,
    ) -> T: ...
    @overload
    async def get(
        self,
        timeout: float | None = None,
        *,
        interval: float | None = None,
        on_interval: Callable[[], object] | None = None,
        missing: Literal["wait", "raise"] = "wait",
        propagate: bool,
        wrap: bool = False,
    ) -> T | Exception: ...
    async def get(
        self,
        timeout: float | None = None,
        *,
        interval: float | None = None,
        on_interval: Callable[[], object] | None = None,
        missing: Literal["wait", "raise"] = "wait",
        propagate: bool = True,
        wrap: bool = False,
    ) -> T | Exception:
        """See `coatcheck.AsyncResult.get`."""
        meta = self._meta or self.remember(
            await self._results._wait(  # noqa: SLF001 - its handle
                self.task_id, timeout, interval, on_interval, must_exist=missing == "raise"
            )
        )
        return cast("T | Exception", self._value_of(meta, propagate=propagate, wrap=wrap))

    async def check_alive(self) -> bool | None:
        """See `coatcheck.AsyncResult.check_alive`."""
        return await self._results.check_alive(self.task_id)

    async def updates(self, timeout: float | None = None) -> AsyncGenerator[ResultMeta, None]:
        """See `coatcheck.AsyncResult.updates`."""
        async with aclosing(self._results._updates(self.task_id, timeout)) as metas:  # noqa: SLF001
            async for meta in metas:
                yield self.remember(meta)

    async def forget(self) -> bool:
        """See `coatcheck.AsyncResult.forget`."""
        self._meta = None
        return await self._results.forget(self.task_id)
