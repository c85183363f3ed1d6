"""
How much one read or write carries: by number and by bytes, learned from what came before. No I/O.

A read of a thousand records is one round trip while they are small. A thousand records of a
megabyte neither arrive within an operation's time nor fit into memory, and while they are read
nobody else is served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from operator import attrgetter
from typing import Final, Generic, TypeVar

from .._record.meta import ResultMeta
from .._runtime.clocks import monotonic
from ..errors import BackendUnavailableError

S = TypeVar("S")
_VERSION: Final = attrgetter("version")

#: How many records one read or write carries at most.
BATCH: Final = 1000
#: How many bytes one read or write carries at most, if that can be foretold.
MOST: Final = 8 * 1024 * 1024
#: So many bytes are carried at once even where the line is slow.
LEAST: Final = 256 * 1024
#: How long one read or write is to take, in seconds: others of the process wait meanwhile. Less
#: where an operation has less time, as shows when one comes to nothing.
SLICE: Final = 0.5
_SHORTEST_SLICE: Final = 0.02
#: How fast the time grows again.
_RECOVERY: Final = 1.02
#: How many records are read first, when nothing is known of their size.
_FIRST: Final = 4
#: A read asks for so many times as many records as the one before.
_GROWTH: Final = 16
#: What came to nothing is tried with so small a part of it.
_SHRINK: Final = 8
#: After so many smaller records, what is known of the size of the large ones counts half.
_FADE: Final = 100


def batches(keys: Iterable[str]) -> Iterator[list[str]]:
    """
    Split *keys* into lists of at most `BATCH`.
    """
    keys = list(keys)
    return (keys[i : i + BATCH] for i in range(0, len(keys), BATCH))


def weight(metas: Collection[ResultMeta]) -> int:
    """
    Return about how many bytes *metas*, one at least and all of one store, have there.
    """
    # At the speed of C where they are bytes: this is done for all that is ever read.
    if isinstance(next(iter(metas)).version, bytes):
        return sum(map(len, map(_VERSION, metas)))
    values = chain.from_iterable(meta.document.values() for meta in metas)
    return sum(len(value) for value in values if isinstance(value, (bytes, str)))


class Portions:
    """
    How much one read or write carries at one store. Shared by threads, which may overlook each
    other's news.

    Args:
        spread: whether the records are on several servers, see `BaseBackend.spread`.
    """

    def __init__(self, *, spread: bool = False) -> None:
        self._count = BATCH if spread else _FIRST
        self._each = 0.0
        self._slice = SLICE
        #: How many bytes one read or write carries.
        self.budget: int = MOST

    def count(self, most: int = BATCH) -> int:
        """
        Return how many records to read at once, at most *most*.
        """
        count = min(most, self._count)
        if count * self._each <= self.budget:
            return count
        return max(1, int(self.budget / self._each))

    @property
    def held(self) -> int:
        """
        How many records may be held for one who does not take them.
        """
        return int(MOST / self._each) if self._each else BATCH

    def came(self, asked: int, metas: Collection[ResultMeta], seconds: float) -> None:
        """
        Learn from a read of *asked* records, which found *metas*.
        """
        if self._count < BATCH:
            self._count = min(BATCH, max(self._count, asked * _GROWTH))
        if metas:
            size, number = weight(metas), len(metas)
            self._each = max(size / number, self._each * 0.5 ** (number / _FADE))
            self.went(size, seconds)

    def is_much(self, asked: int) -> bool:
        """
        Whether *asked* records are, or may be, much for a slow line.
        """
        return asked * self._each > LEAST or asked > _FIRST * _GROWTH

    def failed(self, asked: int) -> None:
        """
        Learn from a read of *asked* records that came to nothing.
        """
        self._count = max(1, asked // _SHRINK)
        self._slice = max(_SHORTEST_SLICE, self._slice / 2)

    def went(self, size: int, seconds: float) -> None:
        """
        Learn that *size* bytes took so many *seconds*.
        """
        if size >= LEAST:  # less tells of the way there and back, not of the line
            rate = size / max(seconds, 0.001)
            self.budget = int(min(max(LEAST, rate * self._slice), MOST))
            self._slice = min(SLICE, self._slice * _RECOVERY)

    def stuck(self, size: int) -> None:
        """
        Learn from a write of *size* bytes that came to nothing.
        """
        self.budget = max(LEAST, min(size, self.budget) // _SHRINK)
        self._slice = max(_SHORTEST_SLICE, self._slice / 2)


class _Way:
    """
    What the ways through many reads and many writes have in common: when to go on.
    """

    def __init__(self, portions: Portions) -> None:
        self._portions = portions
        self._began = 0.0
        self._answered = False
        self._failed = False

    def _took(self) -> float:
        self._answered, self._failed = True, False
        return monotonic() - self._began

    def _check(self, error: BackendUnavailableError, *, number: int, much: bool) -> None:
        """
        Raise *error*, unless less at once may come through: the store answered before, or it was
        *much*. What fails twice in a row is given up: the store is away.
        """
        hopeful = (self._answered or much) and not self._failed
        if number == 1 or not hopeful:
            raise error
        self._failed = True


class Reading(_Way):
    """
    The way through many ids, in portions. What was too much for one read is asked for again.
    """

    def __init__(self, portions: Portions, ids: Iterable[str]) -> None:
        super().__init__(portions)
        self._ids = list(ids)
        self._at = 0
        self._asked = 0

    def next(self) -> list[str]:
        """
        Return what to read now; nothing at the end.
        """
        portion = self._ids[self._at : self._at + self._portions.count()]
        self._asked, self._began = len(portion), monotonic()
        return portion

    def came(self, metas: Collection[ResultMeta]) -> None:
        """
        Take in that the portion was read.
        """
        self._portions.came(self._asked, metas, self._took())
        self._at += self._asked

    def failed(self, error: BackendUnavailableError) -> None:
        """
        Take in that the portion was not read. Raises *error*, unless less at once may come through.
        """
        much = self._portions.is_much(self._asked)
        self._portions.failed(self._asked)
        self._check(error, number=self._asked, much=much)


class Writing(_Way, Generic[S]):
    """
    The way of many records into a store, in portions. What was too much for one write is written
    again.

    Args:
        portions: what is known of the store.
        items: the records as they are sent. Each is made when its turn comes.
        size: how many bytes one of them has.
        most: how many of them are written at once at most.
    """

    def __init__(
        self,
        portions: Portions,
        items: Iterable[S],
        size: Callable[[S], int],
        *,
        most: int = BATCH,
    ) -> None:
        super().__init__(portions)
        self._items = iter(items)
        self._size = size
        self._most = most
        self._returned: deque[S] = deque()
        self._portion: list[S] = []
        self._bytes = 0

    def next(self) -> list[S]:
        """
        Return what to write now; nothing at the end.
        """
        portion: list[S] = []
        total = 0
        while (item := self._item()) is not None:
            size = self._size(item)
            if portion and (total + size > self._portions.budget or len(portion) == self._most):
                self._returned.appendleft(item)
                break
            portion.append(item)
            total += size
        self._portion, self._bytes, self._began = portion, total, monotonic()
        return portion

    def _item(self) -> S | None:
        return self._returned.popleft() if self._returned else next(self._items, None)

    def went(self) -> None:
        """
        Take in that the portion was written.
        """
        self._portions.went(self._bytes, self._took())

    def failed(self, error: BackendUnavailableError) -> None:
        """
        Take in that the portion was not written. Raises *error*, unless less at once may come
        through.
        """
        self._portions.stuck(self._bytes)
        self._check(error, number=len(self._portion), much=self._bytes > LEAST)
        self._returned.extendleft(reversed(self._portion))
