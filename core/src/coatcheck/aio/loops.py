"""
State that belongs to an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """
    One value for each event loop, made when that loop first asks.

    A value refers to its loop, so no weak reference would ever let go of the two: values of
    closed loops are dropped when another loop asks for its own.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: dict[asyncio.AbstractEventLoop, T] = {}

    def get(self) -> T:
        """
        Return the running loop's value.
        """
        loop = asyncio.get_running_loop()
        try:
            return self._values[loop]
        except KeyError:
            for other in [other for other in self._values if other.is_closed()]:
                self._values.pop(other, None)
            value = self._values[loop] = self._make()
            return value

    def pop(self) -> T | None:
        """
        Take out the running loop's value, if it has one.
        """
        return self._values.pop(asyncio.get_running_loop(), None)
