"""
When to look: the pure schedule of looks at tasks that are waited for.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from random import Random
from typing import Final

from . import forks

#: Without push, the pause is this fraction of the time already waited, within the bounds.
FRACTION: Final = 0.1
SHORTEST: Final = 0.001
LONGEST: Final = 0.5
#: Pauses vary by this fraction, so that many waiters do not look at once.
JITTER: Final = 0.1
#: How many tasks one read looks at.
PORTION: Final = 250


class Dice(Random):
    """
    Random numbers that are no secret, and that forked processes do not share.
    """

    def __init__(self) -> None:
        super().__init__()
        forks.register(self)

    def after_fork(self) -> None:
        """
        Begin another sequence.
        """
        self.seed()


#: Returns a number from 0 up to 1.
random: Final = Dice().random


def adaptive(waited: float) -> float:
    """
    Return the pause before the next look, in seconds, after *waited* seconds without push.
    """
    return jittered(min(max(waited * FRACTION, SHORTEST), LONGEST))


def jittered(pause: float) -> float:
    """
    Return *pause*, shortened by a random part of `JITTER`.
    """
    return pause * (1 - JITTER * random())


def aligned(now: float, pause: float) -> float:
    """
    Return the time of a look about *pause* seconds after *now*: the next one on a grid.

    The grid is a quarter of the pause, rounded down to a power of two, so that tasks which are
    waited for about equally long are read together, however many they are.
    """
    grid = 2.0 ** (math.frexp(pause)[1] - 3)
    return math.ceil((now + pause) / grid) * grid


def portions(ids: list[str]) -> Iterator[list[str]]:
    """
    Split what is due into reads that take a few milliseconds each.

    So a wait that is at its deadline sees that its look makes progress; larger reads would save
    next to nothing.
    """
    return (ids[start : start + PORTION] for start in range(0, len(ids), PORTION))


class Agenda:
    """
    Which ids are due for a look, and when. Times are those of one monotonic clock.
    """

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._since: dict[str, float] = {}
        # Entries that no longer agree with `_due` are stale and skipped.
        self._heap: list[tuple[float, str]] = []
        # Other processes, whose clock may be the same, look at other moments.
        self._phase = random()
        self._taken: set[str] = set()

    def __contains__(self, id_: str) -> bool:
        return id_ in self._due

    def __len__(self) -> int:
        return len(self._due)

    def add(self, id_: str, now: float) -> None:
        """
        Have *id_* looked at from *now* on, the first time at once.
        """
        self._since.setdefault(id_, now)
        self._due.setdefault(id_, float("inf"))
        self.hasten(id_, now)

    def is_taken(self, id_: str) -> bool:
        """
        Whether a look at *id_* is under way.
        """
        return id_ in self._taken

    def hasten(self, id_: str, at: float) -> None:
        """
        Have *id_*, if it is waited for, looked at no later than *at*.
        """
        if self._due.get(id_, at) > at:
            self._due[id_] = at
            heapq.heappush(self._heap, (at, id_))

    def discard(self, id_: str) -> None:
        """
        Forget *id_*, if it is there.
        """
        self._due.pop(id_, None)
        self._since.pop(id_, None)
        if not self._due:
            self._heap.clear()

    def ring(self, ids: Iterable[str], now: float) -> None:
        """
        Have those of *ids* that are waited for looked at at once.
        """
        for id_ in ids:
            self.hasten(id_, now)

    def take_due(self, now: float) -> list[str]:
        """
        Return the ids that are due, each to be given back by `looked`.
        """
        due = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, id_ = heapq.heappop(heap)
            if self._due.get(id_) == at:
                self._due[id_] = float("inf")
                due.append(id_)
        self._taken.update(due)
        return due

    def looked(self, id_: str, now: float, safety_look: float | None, lag: float = 0.0) -> None:
        """
        Set the next look at *id_*: the safety look where there is push, else adaptive.

        Where rings come *lag* seconds late, the pace is adaptive as long as it is the faster one.
        """
        self._taken.discard(id_)
        if id_ in self._due:
            pause = adaptive(now - self._since[id_])
            if safety_look is not None and pause >= lag:
                pause = jittered(safety_look)
            self.hasten(id_, aligned(now - self._phase, pause) + self._phase)

    def abandoned(self, ids: Iterable[str]) -> None:
        """
        Take in that the looks at *ids* came to nothing, and that none is to follow.
        """
        self._taken.difference_update(ids)

    def changed(self, id_: str, now: float) -> None:
        """
        Start the pace of *id_* anew: something happened.
        """
        if id_ in self._since:
            self._since[id_] = now

    def next_look(self) -> float | None:
        """
        Return the time of the earliest look, or `None` where nothing is waited for.
        """
        heap = self._heap
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None
