"""
Bells for asyncio, see `coatcheck._backends.bells`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from .._runtime.latch import Latch

_NOTHING: Final[frozenset[str]] = frozenset()


class Bell:
    """As `coatcheck.Bell`; this one only sleeps. Belongs to one event loop."""

    lag: float = 0.0
    unready: bool = True

    def __init__(self) -> None:
        self._woken = Latch()

    @property
    def pushing(self) -> bool:
        """See `coatcheck.Bell.pushing`."""
        return False

    async def add(self, keys: Collection[str]) -> None:
        """Subscribe to *keys*. On return the subscription is live, or `pushing` is `False`."""

    async def discard(self, keys: Iterable[str]) -> None:
        """End the subscription to *keys*; unknown ones are ignored."""

    async def wait(self, timeout: float) -> Collection[str]:
        """Return the keys that rang, as soon as one did; none after *timeout* seconds or `wake`."""
        await self._sleep(timeout)
        return _NOTHING

    async def _sleep(self, seconds: float) -> None:
        await self._woken.sleep(seconds)

    def wake(self) -> None:
        """End the wait that goes on, or else the next one."""
        self._woken.set()
