"""
The base of the contract's tests. Each test body is a coroutine and proves both sides.

`BackendContract` runs it without an event loop, over `awaited` clients; `AioBackendContract` runs it
in a loop of its own. Pytest sees a plain function, so no plugin and no setting is needed.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, ClassVar, cast

import pytest

from ... import aio, by_url
from ..._backends.backend import Backend
from ..._record.meta import ResultMeta
from ..._results.results import Results as SyncResults
from ...aio import Results
from ..awaited import awaited, driven
from ..checked import Checked
from ..proxy import Proxy

Body = Callable[..., Coroutine[Any, Any, None]]


class Case(Checked):
    """A store, and a client of it under test."""

    #: The job of `testing.child` that runs a task on this side.
    _job: ClassVar[str]

    @pytest.fixture
    def results(self) -> Iterator[Results]:
        """The client under test."""
        results = self.recorded(self.new_results())
        yield results
        self._run(results.close())

    @pytest.fixture
    def proxy(self) -> Iterator[Proxy]:
        """A proxy before the store."""
        with Proxy(*self.address()) as proxy:
            yield proxy

    def results_through(self, proxy: Proxy, **options: Any) -> Results:
        """Return a client that reaches the store through *proxy*."""
        return self.results_at(self.through(proxy.port), **options)

    def new_results(self, **options: Any) -> Results:
        raise NotImplementedError

    def results_at(self, url: str, **options: Any) -> Results:
        raise NotImplementedError

    def blocking_backend(self) -> AbstractContextManager[Backend[ResultMeta]]:
        """Return the backend of a new client; each call of it ends before it returns."""
        raise NotImplementedError

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        raise NotImplementedError

    def __init_subclass__(cls, *, contract: bool = False, **options: Any) -> None:
        if contract:
            for part in reversed(cls.__mro__):
                for name, body in list(vars(part).items()):
                    if name.startswith("test_") and inspect.iscoroutinefunction(body):
                        setattr(cls, name, _run_by_its_side(body))
        super().__init_subclass__(contract=contract, **options)


def _run_by_its_side(body: Body) -> Callable[..., None]:
    @wraps(body)
    def test(self: Case, **fixtures: Any) -> None:
        self._run(body(self, **fixtures))

    return test


class SyncCase(Case):
    """The synchronous side."""

    _job = "work"

    @pytest.fixture
    def sync(self) -> Iterator[SyncResults]:
        """The client under test, for tests of this side only."""
        with self.recorded(self.sync_results()) as results:
            yield results

    def new_results(self, **options: Any) -> Results:
        return cast("Results", awaited(self.sync_results(**options)))

    def results_at(self, url: str, **options: Any) -> Results:
        return cast("Results", awaited(by_url(url, **options)))

    @contextmanager
    def blocking_backend(self) -> Iterator[Backend[ResultMeta]]:
        with self.recorded(self.sync_results()) as results:
            yield results.backend

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        driven(coroutine)

    def _client(self) -> SyncResults:
        return self.sync_results()


class AioCase(Case):
    """The side for asyncio."""

    _job = "aio_work"
    _runner: asyncio.Runner

    @pytest.fixture(autouse=True)
    def _loop(self) -> Iterator[None]:
        with asyncio.Runner() as self._runner:
            yield

    def new_results(self, **options: Any) -> Results:
        return self.aio_results(**options)

    def results_at(self, url: str, **options: Any) -> Results:
        return aio.by_url(url, **options)

    @contextmanager
    def blocking_backend(self) -> Iterator[Backend[ResultMeta]]:
        results = self.recorded(self.aio_results())
        with asyncio.Runner() as runner:
            yield cast("Backend[ResultMeta]", Blocking(results.backend, runner))
            runner.run(results.close())

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._runner.run(coroutine)

    def _client(self) -> Results:
        return self.aio_results()


class Blocking:
    """A backend for asyncio, driven step by step in a loop of its own."""

    def __init__(self, backend: Any, runner: asyncio.Runner) -> None:
        self.backend = backend
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.backend, name)
        if not inspect.isroutine(value):
            return value
        return lambda *args, **how: self._runner.run(_all_of(value(*args, **how)))


async def _all_of(answer: Any) -> Any:
    if isinstance(answer, AsyncIterator):
        return [item async for item in answer]
    return await answer
