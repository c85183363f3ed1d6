"""
What the tests of the contract for asyncio have in common.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import pytest_asyncio

from ...aio import Results
from ..checked import Checked
from ..proof import PATIENCE

T = TypeVar("T")


class AioCase(Checked):
    """
    A store, and a client of it under test.
    """

    @pytest_asyncio.fixture
    async def results(self) -> AsyncIterator[Results]:
        """
        The client under test.
        """
        async with self.recorded(self.aio_results()) as results:
            yield results

    def _client(self) -> Results:
        return self.aio_results()


async def patiently(awaitable: Awaitable[T], *, patience: float = PATIENCE) -> T:
    """
    Await, and fail instead of hanging.
    """
    async with asyncio.timeout(patience):
        return await awaitable


async def answer_of(called: Any) -> Any:
    """
    Return the answer to a call of a backend, which may be one for synchronous code.
    """
    return await called if inspect.isawaitable(called) else called
