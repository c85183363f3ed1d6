"""
Bells end a waiter's pause early when the store reports a write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import Final

from .._runtime.alarm import Alarm

_NOTHING: Final[frozenset[str]] = frozenset()


class Bell:
    """
    A subscription to keys. This one never rings: it only sleeps.

    A bell belongs to one thread; only `wake` may be called from others. It latches: a ring
    between the look and the wait ends the next wait. None of its methods raises an error of the
    store: a bell that lost its subscription says so by `pushing` and goes on trying.
    """

    #: How late a ring may come, in seconds, after the record can be read. During this time the waiter
    #: also looks at the adaptive pace.
    lag: float = 0.0
    #: Whether writes of unready records ring, too; otherwise their waiters poll.
    unready: bool = True

    def __init__(self) -> None:
        self._woken = Alarm()

    @property
    def pushing(self) -> bool:
        """Whether rings are reliable now; otherwise the waiter looks at the adaptive pace."""
        return False

    def add(self, keys: Collection[str]) -> None:
        """Subscribe to *keys*. On return the subscription is live, or `pushing` is `False`."""

    def discard(self, keys: Iterable[str]) -> None:
        """End the subscription to *keys*; unknown ones are ignored."""

    def wait(self, timeout: float) -> Collection[str]:
        """
        Return the keys that rang, as soon as one rings; an empty set after *timeout* seconds or `wake`.

        A ring is a hint: it may be false, early or doubled. After a reconnect all keys ring.
        """
        self._woken.sleep(timeout)
        return _NOTHING

    def wake(self) -> None:
        """End the current wait, or else the next one. For any thread."""
        self._woken.ring()


class LocalBell(Bell):
    """A bell that the same process rings."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: set[str] = set()
        self._rang: deque[str] = deque()

    @property
    def pushing(self) -> bool:
        return True

    def add(self, keys: Collection[str]) -> None:
        self._keys.update(keys)

    def discard(self, keys: Iterable[str]) -> None:
        self._keys.difference_update(keys)

    def ring(self, key: str) -> None:
        """Ring, if anybody listens for *key*. For any thread."""
        if key in self._keys:
            self._rang.append(key)
            self._woken.ring()

    def wait(self, timeout: float) -> Collection[str]:
        self._woken.sleep(timeout)
        # Emptied after the sleep: a ring that comes in between ends the next wait as well.
        rang = set()
        while self._rang:
            rang.add(self._rang.popleft())
        return rang
