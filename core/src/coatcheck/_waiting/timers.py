"""
Timers that share: one timer of the loop wakes everybody whose time is about the same.

With a timer of the loop for each of 5,000 waits, a wait takes 1.09 times the CPU time and 250 bytes
more (2,490 in place of 2,240): `tests/bench/fast_paths.py`.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final, Protocol

from .._runtime.clocks import monotonic

#: Seconds between two possible times. Nobody is woken too early.
GRID: Final = 1 / 256
#: Seconds between looks for timers that were lost.
LOOK: Final = 1.0


class Sleeper(Protocol):
    """Someone who sleeps."""

    def notify(self) -> None:
        """Wake up. Called from the loop."""


class Alarms:
    """
    Wakes sleepers at times of the monotonic clock. Ten thousand timers of the loop would take memory, and
    most waits never reach theirs.
    """

    def __init__(self) -> None:
        self._next_look = 0.0
        self._slots: dict[int, tuple[asyncio.TimerHandle, set[Sleeper]]] = {}

    def set(self, at: float, sleeper: Sleeper) -> int:
        """Have *sleeper* woken at *at* or a moment later. Return the place for `unset`."""
        place = math.ceil(at / GRID)
        slot = self._slots.get(place)
        if slot is None:
            delay = place * GRID - monotonic()
            timer = asyncio.get_running_loop().call_later(delay, self._ring, place)
            slot = self._slots[place] = (timer, set())
        slot[1].add(sleeper)
        return place

    def unset(self, place: int, sleeper: Sleeper) -> None:
        """Take back a `set`. It may have come, or been taken back, before."""
        if (slot := self._slots.get(place)) is not None:
            timer, sleepers = slot
            sleepers.discard(sleeper)
            if not sleepers:
                timer.cancel()
                del self._slots[place]

    def ring_overdue(self, now: float) -> None:
        """
        Wake everybody whose timer was lost: asyncio drops exceptions that signal handlers raise in
        callbacks. Looks at most once a second.
        """
        if now >= self._next_look:
            self._next_look = now + LOOK
            for place in [place for place in self._slots if (place + 1) * GRID < now]:
                self._ring(place)

    def _ring(self, place: int) -> None:
        for sleeper in self._slots[place][1]:
            sleeper.notify()
        del self._slots[place]  # last: until then `ring_overdue` finds it
