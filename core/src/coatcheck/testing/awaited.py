"""
Synchronous objects under the names of their asyncio twins, so that one test proves both sides.

`awaited(results)` has the coroutines, asynchronous iterators and context managers of `coatcheck.aio`.
Each runs the synchronous method at once, in the calling thread, and never suspends.
`driven` runs such a coroutine to its end without an event loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final, TypeVar

from .. import aio
from .._backends.backend import Backend
from .._backends.bells import Bell
from .._results.asyncio_running import RunningTask as AioRunningTask
from .._results.handles import AsyncResult
from .._results.results import Results
from .._results.resultsets import ResultSet
from .._results.running import RunningTask

T = TypeVar("T")

#: Each synchronous class with the one whose names its objects get.
TWINS: Final[tuple[tuple[type, type], ...]] = (
    (Results, aio.Results),
    (AsyncResult, aio.AsyncResult),
    (ResultSet, aio.ResultSet),
    (RunningTask, AioRunningTask),
    (Backend, aio.Backend),
    (Bell, aio.Bell),
)
#: Methods that return a coroutine without being coroutine functions.
RETURN_COROUTINES: Final = frozenset({"wait_for"})


def awaited(value: Any) -> Any:
    """Return *value* under asyncio's names, or as it is if there is no twin of it."""
    for kind, twin in TWINS:
        if isinstance(value, kind):
            return Awaited(value, twin)
    if isinstance(value, Iterator):
        return Iterated(value)
    return Within(value) if isinstance(value, AbstractContextManager) else value


def driven(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run *coroutine* in this thread; it may await only objects of `awaited`."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        answer: T = end.value
        return answer
    coroutine.close()
    raise TypeError(f"{coroutine!r} awaits an event loop; the synchronous side has none")


class Within:
    """A context manager, entered and left by `async with`."""

    def __init__(self, manager: AbstractContextManager[Any]) -> None:
        self.sync = manager

    async def __aenter__(self) -> Any:
        return awaited(self.sync.__enter__())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self.sync.__exit__(kind, error, traceback)


class Iterated:
    """An iterator for `async for`."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self.sync = iterator

    def __aiter__(self) -> Iterated:
        return self

    async def __anext__(self) -> Any:
        for item in self.sync:
            return awaited(item)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the generator."""
        if isinstance(self.sync, Generator):
            self.sync.close()


class Awaited(Within):
    """A synchronous object whose methods are coroutine functions where those of its twin are."""

    def __init__(self, sync: Any, twin: type) -> None:
        self.__dict__.update(sync=sync, twin=twin)

    def __getattr__(self, name: str) -> Any:
        if name in RETURN_COROUTINES or inspect.iscoroutinefunction(getattr(self.twin, name, None)):
            return self._coroutine_function(name)
        value = getattr(self.sync, name)
        return _answering(value) if inspect.isroutine(value) else awaited(value)

    def _coroutine_function(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*args: Any, **options: Any) -> Any:
            value = getattr(self.sync, name)  # which some have as a property
            is_property = isinstance(getattr(type(self.sync), name, None), property)
            return awaited(value if is_property else value(*args, **options))

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.sync, name, value)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.get().__await__()  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return repr(self.sync)


def _answering(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        return awaited(method(*args, **options))

    return call
