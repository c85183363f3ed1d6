"""
State that belongs to an event loop.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from . import forks

T = TypeVar("T")


#: Values that a fork copied. They belong to the parent's loops, so they must not be finalized here.
_INHERITED: Final[list[Any]] = []


class PerLoop(Generic[T]):
    """
    One value for each event loop, made when that loop first asks.

    A forked child makes its own, even for a loop that it inherited.

    A value refers to its loop, so weak references would never free the two: values of closed loops are
    dropped when another loop asks for its own.

    Args:
        make: returns a new value.
        end: called with the value when its loop ends, as `asyncio.run` ends it, and soon after this
            object was dropped: an application that forgets to close leaves nothing open.
    """

    def __init__(
        self, make: Callable[[], T], end: Callable[[T], Awaitable[object]] | None = None
    ) -> None:
        self._make = make
        self._end = end
        self._forget()
        forks.register(self)

    def _forget(self) -> None:
        self._values: dict[asyncio.AbstractEventLoop, T] = {}
        self._farewells: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}

    def after_fork(self) -> None:
        _INHERITED.append((self._values, self._farewells))
        self._forget()

    def get(self) -> T:
        """Return the running loop's value."""
        forks.check()
        loop = asyncio.get_running_loop()
        try:
            return self._values[loop]
        except KeyError:
            for other in [other for other in self._values if other.is_closed()]:
                self._values.pop(other, None)
                self._farewells.pop(other, None)
            value = self._values[loop] = self._make()
            self._attend(loop)
            return value

    def pop(self) -> T | None:
        """Take out the running loop's value, if it has one."""
        forks.check()
        loop = asyncio.get_running_loop()
        value = self._values.pop(loop, None)
        farewell = self._farewells.pop(loop, None)
        if farewell is not None:
            _step(farewell.aclose())  # the value is gone already
        return value

    def _attend(self, loop: asyncio.AbstractEventLoop) -> None:
        """
        Arrange for `end` to run when *loop* ends: then it closes the generators that were begun on it.
        """
        # A loop that is ending warns about generators that begin then.
        if self._end is not None and not getattr(loop, "_asyncgens_shutdown_called", False):
            farewell = self._farewells[loop] = _farewell(
                loop, self._values, self._end, weakref.ref(self)
            )
            _step(farewell.__anext__())


async def _farewell(
    loop: asyncio.AbstractEventLoop,
    values: dict[asyncio.AbstractEventLoop, T],
    end: Callable[[T], Awaitable[object]],
    kept_by: weakref.ref[PerLoop[T]],
) -> AsyncGenerator[None, None]:
    # Where the one that keeps it is dropped, the loop closes this generator at once.
    try:
        yield
    finally:
        value, keeper = values.pop(loop, None), kept_by()
        if keeper is not None:
            keeper._farewells.pop(loop, None)  # noqa: SLF001 - this belongs to it
        if value is not None:
            await end(value)


def _step(step: Awaitable[object]) -> None:
    """Run a step of an asynchronous generator that does not wait."""
    with suppress(StopIteration, StopAsyncIteration):
        step.__await__().send(None)
