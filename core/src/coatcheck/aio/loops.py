"""
State that belongs to an event loop.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """
    One value for each event loop, made when that loop first asks.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T] = (
            weakref.WeakKeyDictionary()
        )

    def get(self) -> T:
        """
        Return the running loop's value.
        """
        loop = asyncio.get_running_loop()
        try:
            return self._values[loop]
        except KeyError:
            value = self._values[loop] = self._make()
            return value

    def pop(self) -> T | None:
        """
        Take out the running loop's value, if it has one.
        """
        return self._values.pop(asyncio.get_running_loop(), None)
