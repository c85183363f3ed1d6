"""
How much one read or write carries, by number and by bytes, learned from earlier ones. No I/O.

A read of a thousand records is one round trip while they are small. A thousand records of a
megabyte neither arrive within an operation's time nor fit into memory, and delay
all other reads.
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
#: How many bytes one read or write carries at most, if the size is known before.
MOST: Final = 8 * 1024 * 1024
#: The least number of bytes for one read or write, however slow the line is.
LEAST: Final = 256 * 1024
#: How long one read or write should take, in seconds: other callers wait meanwhile. A failure
#: shortens it, because operations may have less time.
SLICE: Final = 0.5
_SHORTEST_SLICE: Final = 0.02
#: How fast the time grows again.
_RECOVERY: Final = 1.02
#: How many records the first read asks for, when their size is unknown.
_FIRST: Final = 4
#: The factor by which the number of records grows from read to read.
_GROWTH: Final = 16
#: The divisor of a portion that failed.
_SHRINK: Final = 8
#: The number of smaller records after which the size of earlier large ones counts half.
_FADE: Final = 100


def batches(keys: Iterable[str]) -> Iterator[list[str]]:
    """Split *keys* into lists of at most `BATCH`."""
    keys = list(keys)
    return (keys[i : i + BATCH] for i in range(0, len(keys), BATCH))


def weight(metas: Collection[ResultMeta]) -> int:
    """Return about how many bytes *metas*, at least one and all from one store, have there."""
    # At the speed of C for bytes: every read pays for this.
    if isinstance(next(iter(metas)).version, bytes):
        return sum(map(len, map(_VERSION, metas)))
    values = chain.from_iterable(meta.document.values() for meta in metas)
    return sum(len(value) for value in values if isinstance(value, (bytes, str)))


class Portions:
    """
    How much one read or write carries at one store. Threads share it, and may miss each other's
    updates.

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
        """Return how many records to read at once, at most *most*."""
        count = min(most, self._count)
        if count * self._each <= self.budget:
            return count
        return max(1, int(self.budget / self._each))

    @property
    def held(self) -> int:
        """How many records may be held for a reader that does not take them."""
        return int(MOST / self._each) if self._each else BATCH

    def came(self, asked: int, metas: Collection[ResultMeta], seconds: float) -> None:
        """Learn from a read of *asked* records, which found *metas*."""
        if self._count < BATCH:
            self._count = min(BATCH, max(self._count, asked * _GROWTH))
        if metas:
            size, number = weight(metas), len(metas)
            self._each = max(size / number, self._each * 0.5 ** (number / _FADE))
            self.went(size, seconds)

    def is_much(self, asked: int) -> bool:
        """Whether *asked* records are, or may be, much for a slow line."""
        return asked * self._each > LEAST or asked > _FIRST * _GROWTH

    def failed(self, asked: int) -> None:
        """Learn from a failed read of *asked* records."""
        self._count = max(1, asked // _SHRINK)
        self._slice = max(_SHORTEST_SLICE, self._slice / 2)

    def went(self, size: int, seconds: float) -> None:
        """Learn that *size* bytes took *seconds*."""
        if size >= LEAST:  # less shows the latency and not the speed
            rate = size / max(seconds, 0.001)
            self.budget = int(min(max(LEAST, rate * self._slice), MOST))
            self._slice = min(SLICE, self._slice * _RECOVERY)

    def stuck(self, size: int) -> None:
        """Learn from a failed write of *size* bytes."""
        self.budget = max(LEAST, min(size, self.budget) // _SHRINK)
        self._slice = max(_SHORTEST_SLICE, self._slice / 2)


class _Way:
    """Decides whether a sequence of reads or writes goes on after an error."""

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
        Raise *error*, unless a smaller portion may succeed: the store answered before, or the portion was
        *much*. After two failures in a row the store is away.
        """
        hopeful = (self._answered or much) and not self._failed
        if number == 1 or not hopeful:
            raise error
        self._failed = True


class Reading(_Way):
    """Reads many ids in portions. A portion that was too large is asked for again in parts."""

    def __init__(self, portions: Portions, ids: Iterable[str]) -> None:
        super().__init__(portions)
        self._ids = list(ids)
        self._at = 0
        self._asked = 0

    def next(self) -> list[str]:
        """Return the ids to read now; an empty list at the end."""
        portion = self._ids[self._at : self._at + self._portions.count()]
        self._asked, self._began = len(portion), monotonic()
        return portion

    def came(self, metas: Collection[ResultMeta]) -> None:
        """Note that the portion was read."""
        self._portions.came(self._asked, metas, self._took())
        self._at += self._asked

    def failed(self, error: BackendUnavailableError) -> None:
        """Note that the portion was not read. Raises *error*, unless a smaller one may succeed."""
        much = self._portions.is_much(self._asked)
        self._portions.failed(self._asked)
        self._check(error, number=self._asked, much=much)


class Writing(_Way, Generic[S]):
    """
    Writes many records in portions. A portion that was too large is written again in parts.

    Args:
        portions: the experience with the store.
        items: the encoded records, made one by one as they are needed.
        size: returns the number of bytes of a record.
        most: the most records for one write.
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
        """Return the records to write now; an empty list at the end."""
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
        """Note that the portion was written."""
        self._portions.went(self._bytes, self._took())

    def failed(self, error: BackendUnavailableError) -> None:
        """
        Note that the portion was not written. Raises *error*, unless a smaller one may succeed.
        """
        self._portions.stuck(self._bytes)
        self._check(error, number=len(self._portion), much=self._bytes > LEAST)
        self._returned.extendleft(reversed(self._portion))
