"""
The schedule of looks at tasks. No I/O.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from .._runtime.dice import jittered, random

#: Without push, the pause is this fraction of the time already waited, within the bounds.
FRACTION: Final = 0.1
SHORTEST: Final = 0.001
LONGEST: Final = 0.5
#: How many tasks one read looks at, which takes a few milliseconds: then others have their turn.
PORTION: Final = 250
#: The due time of a task that was called, and of one whose look is under way.
_NOW: Final = -math.inf
_NEVER: Final = math.inf


def adaptive(waited: float) -> float:
    """Return the pause before the next look, in seconds, after *waited* seconds without push."""
    return jittered(min(max(waited * FRACTION, SHORTEST), LONGEST))


def aligned(now: float, pause: float) -> float:
    """
    Return the time of a look about *pause* seconds after *now*: the next one on a grid.

    The grid is a quarter of the pause, rounded down to a power of two, so that tasks which are
    waited for about equally long are read together, however many they are.
    """
    grid = 2.0 ** (math.frexp(pause)[1] - 3)
    return math.ceil((now + pause) / grid) * grid


class _Polls:
    """
    Plans polls. Crowds take turns, so no crowd keeps another waiting.

    If more polls are due than one read can carry, the ids of a crowd wait for each other. In one queue for
    all, a new id would wait for a hundred thousand old ones.

    Args:
        due: when each id is due. Entries that no longer agree with it are stale and skipped.
    """

    def __init__(self, due: dict[str, float]) -> None:
        self._due = due
        self._crowds: dict[float, list[tuple[float, str]]] = {}
        # The due time of each crowd, and a heap of these times. It may have stale entries, too.
        self._first: dict[float, float] = {}
        self._firsts: list[tuple[float, float]] = []
        # The crowds that are due; their `_first` is `_NOW`.
        self._turns: deque[float] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._crowds.values()))

    def clear(self) -> None:
        """Forget everything."""
        for part in (self._crowds, self._first, self._firsts, self._turns):
            part.clear()

    def add(self, at: float, id_: str, crowd: float) -> None:
        """Have *id_* polled at *at*."""
        heap = self._crowds.setdefault(crowd, [])
        heapq.heappush(heap, (at, id_))
        if at < self._first.get(crowd, _NEVER):
            self._plan(crowd, at)

    def _plan(self, crowd: float, at: float) -> None:
        self._first[crowd] = at
        heapq.heappush(self._firsts, (at, crowd))

    def are_due(self, now: float) -> bool:
        """Whether a poll is due."""
        while self._firsts and self._firsts[0][0] <= now:
            at, crowd = heapq.heappop(self._firsts)
            if self._first.get(crowd) == at:
                self._first[crowd] = _NOW
                self._turns.append(crowd)
        return bool(self._turns)

    def take(self, taken: list[str], now: float, most: int) -> None:
        """
        Add ids that are due to *taken*, up to *most*; equally many of each crowd, if possible.
        """
        while self.are_due(now) and len(taken) < most:
            share = -(-(most - len(taken)) // len(self._turns))
            crowd = self._turns.popleft()
            heap = self._crowds[crowd]
            end = len(taken) + share
            while heap and heap[0][0] <= now and len(taken) < end:
                at, id_ = heapq.heappop(heap)
                if self._due.get(id_) == at:
                    self._due[id_] = _NEVER
                    taken.append(id_)
            self._settle(crowd)

    def next_look(self) -> float | None:
        """Return the time of the earliest poll, or `None` without any."""
        while self._turns:
            if self._is_current(self._turns[0]):
                return _NOW
            self._settle(self._turns.popleft())
        while self._firsts:
            at, crowd = self._firsts[0]
            current = self._first.get(crowd) == at
            if current and self._is_current(crowd):
                return at
            heapq.heappop(self._firsts)
            if current:
                self._settle(crowd)
        return None

    def _is_current(self, crowd: float) -> bool:
        at, id_ = self._crowds[crowd][0]
        return self._due.get(id_) == at

    def _settle(self, crowd: float) -> None:
        """Plan the next turn of *crowd*, or forget it if nothing in it is polled."""
        heap = self._crowds[crowd]
        while heap and not self._is_current(crowd):
            heapq.heappop(heap)
        if heap:
            self._plan(crowd, heap[0][0])
        else:
            del self._crowds[crowd], self._first[crowd]


class Agenda:
    """
    Knows which ids are due for a look, and when. All times are of one monotonic clock.

    An id that needs a look at once is called. Other ids are polled at their time.
    """

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._since: dict[str, float] = {}
        # Entries that no longer agree with `_due` are stale and skipped.
        self._called: deque[str] = deque()
        self._ending: deque[str] = deque()
        self._polls = _Polls(self._due)
        # Other processes, whose clock may be the same, look at other moments.
        self._phase = random()
        self._taken: set[str] = set()
        self._turn = 0

    def __contains__(self, id_: str) -> bool:
        return id_ in self._due

    def __len__(self) -> int:
        return len(self._due)

    def add(self, id_: str, now: float) -> None:
        """Have *id_* looked at from *now* on, the first time at once."""
        self._since.setdefault(id_, now)
        self._due.setdefault(id_, _NEVER)
        self.call(id_)

    def is_taken(self, id_: str) -> bool:
        """Whether a look at *id_* is under way."""
        return id_ in self._taken

    def call(self, id_: str, *, ending: bool = False) -> None:
        """
        Have *id_*, if it is waited for, looked at at once, for the last time if a wait is *ending*.
        """
        if id_ in self._due:
            self._due[id_] = _NOW
            (self._ending if ending else self._called).append(id_)

    def hasten(self, id_: str, at: float, *, crowd: float = 0.0) -> None:
        """Have *id_*, if it is waited for, looked at no later than *at*. Crowds take turns."""
        if self._due.get(id_, at) > at:
            self._due[id_] = at
            self._polls.add(at, id_, crowd)

    def discard(self, id_: str) -> None:
        """Forget *id_*, if it is there."""
        self._due.pop(id_, None)
        self._since.pop(id_, None)
        if not self._due:
            for source in (self._called, self._ending, self._polls):
                source.clear()

    def take_due(self, now: float, limit: int = PORTION) -> list[str]:
        """
        Return at most *limit* of the ids that are due, each to be given back by `looked`.

        Each source gets a share: the latest calls, the earliest calls, last looks, and polls. So no
        source keeps the others waiting.
        """
        taken: list[str] = []
        if self._polls.are_due(now) or self._ending or len(self._called) > limit:
            self._take_fairly(taken, now, limit)
        else:
            self._take_called(taken, self._called, self._called.popleft, limit)
        self._taken.update(taken)
        return taken

    def _take_fairly(self, taken: list[str], now: float, limit: int) -> None:
        called = partial(self._take_called, taken)
        sources = [
            partial(called, self._called, self._called.pop),
            partial(called, self._called, self._called.popleft),
            partial(called, self._ending, self._ending.popleft),
            partial(self._polls.take, taken, now),
        ]
        # Where a portion is one id, the next one is from another source.
        self._turn = (self._turn + 1) % len(sources)
        sources = sources[self._turn :] + sources[: self._turn]
        for share in (-(-limit // len(sources)), limit):  # the second round fills free places
            for take in sources:
                take(min(limit, len(taken) + share))

    def _take_called(
        self, taken: list[str], queue: deque[str], pop: Callable[[], str], most: int
    ) -> None:
        while queue and len(taken) < most:
            id_ = pop()
            if self._due.get(id_) == _NOW:
                self._due[id_] = _NEVER
                taken.append(id_)

    def looked(
        self,
        id_: str,
        now: float,
        safety_look: float | None,
        lag: float = 0.0,
        *,
        crowd: float = 0.0,
    ) -> None:
        """
        Set the next look at *id_*: the safety look where there is push, else adaptive.

        Where rings come *lag* seconds late, the pace is adaptive as long as it is the faster one.
        """
        self._taken.discard(id_)
        if id_ in self._due:
            pause = adaptive(now - self._since[id_])
            if safety_look is not None and pause >= lag:
                pause = jittered(safety_look)
            self.hasten(id_, aligned(now - self._phase, pause) + self._phase, crowd=crowd)

    def abandoned(self, ids: Iterable[str]) -> None:
        """End the looks at *ids* without planning further ones."""
        self._taken.difference_update(ids)

    def changed(self, id_: str, now: float) -> None:
        """Look at *id_* often again, because something happened."""
        if id_ in self._since:
            self._since[id_] = now

    def next_look(self) -> float | None:
        """Return the time of the earliest look, or `None` where nothing is waited for."""
        for queue in (self._called, self._ending):
            while queue and self._due.get(queue[0]) != _NOW:
                queue.popleft()
            if queue:
                return _NOW
        return self._polls.next_look()
