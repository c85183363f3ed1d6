"""
One wait: the tasks that it waits for, and the records that were found for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from .. import states
from .._record.meta import ResultMeta
from .._runtime.interruptions import pass_on_interruption
from ..errors import BackendUnavailableError, UnknownTaskError, WaitTimeoutError
from .pacing import PORTION
from .tail import Tail

#: Seconds between calls of `on_interval`: by default, and at least.
DEFAULT_INTERVAL: Final = 0.5
SHORTEST_INTERVAL: Final = 0.001
#: Waits that begin within this many seconds are one crowd.
CROWD: Final = 1.0
INFINITY: Final = float("inf")

#: The result of the last look at a pending task: a record, nothing at all, or no look so far. A look
#: that was under way when the wait began came too early to count.
LOOKED: Final = 0
UNLOOKED: Final = 1
EARLY: Final = 2
ABSENT: Final = None


class Waiter(ABC):
    """
    One wait for some tasks. The hub delivers records, the owner takes them.

    Args:
        task_ids: the tasks to wait for.
        timeout: seconds from `begin`; `None` waits, 0 looks once.
        interval: seconds between calls of *on_interval*.
        on_interval: called by the owner while it waits. An exception from it ends the wait.
        updates: also deliver unready records, as they change.
        beats: also deliver unready records with a new heartbeat.
        tail: receives the log of the task whenever a write to it was seen. Needs *updates*.
        must_exist: raise `UnknownTaskError` for a task without a record.
        hint: returns advice for the error about a task without a record.
    """

    # Ten thousand waits are an ordinary number, so they have no dict, and rare parts are made late.
    __slots__ = (
        "_hint", "_on_interval", "_ready", "_shown", "_tick", "attentive", "beats", "crowd",
        "deadline", "failures", "fatal", "interval", "last_error", "must_exist", "over", "parked",
        "pending", "since", "tail", "timeout", "unlooked", "updates",
    )  # fmt: skip

    def __init__(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        *,
        interval: float | None = None,
        on_interval: Callable[[], object] | None = None,
        updates: bool = False,
        beats: bool = False,
        tail: Tail | None = None,
        must_exist: bool = False,
        hint: Callable[[], str] | None = None,
    ) -> None:
        #: The tasks without a delivered ready record, with the result of the last look at each.
        self.pending: dict[str, int | None] = dict.fromkeys(task_ids, UNLOOKED)
        self.timeout = timeout
        self.interval = DEFAULT_INTERVAL if interval is None else interval
        self.updates = updates
        self.beats = beats
        self.tail = tail
        self.must_exist = must_exist
        self._hint = hint
        #: The store's last error, while looks fail.
        self.last_error: Exception | None = None
        #: The number of looks that failed.
        self.failures = 0
        #: An error that ends the wait at once.
        self.fatal: Exception | None = None
        #: The number of pending tasks without a look that counts.
        self.unlooked = len(self.pending)
        #: Tasks of one crowd are polled together: those of waits that began at about the same time. A
        #: large wait is a crowd of its own, below zero.
        self.crowd = 0.0
        #: Whether the last look began. From then on each look wakes the owner.
        self.attentive = False
        #: Whether the last look ended, so that records still missing came too late.
        self.over = False
        #: The tasks whose looks are put off until the owner has taken some records.
        self.parked: list[str] | None = None
        #: When the last look is due.
        self.deadline = INFINITY
        #: When the owner of a wait that looks once began to wait for an answer.
        self.since = 0.0
        self._tick = INFINITY
        self._on_interval = on_interval
        self._ready: deque[ResultMeta] | None = None
        self._shown: dict[str, object] | None = None

    @abstractmethod
    def notify(self) -> None:
        """Wake the owner. A second call does no harm."""

    # -- time -----------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Start the clock of the wait at *now*, unless it runs already."""
        self.since = now
        if self.timeout is not None and self.deadline == INFINITY:
            self.deadline = now + self.timeout
        if self._on_interval is not None:
            self._tick = now + self.interval
        self.crowd = -now if self.is_large else now // CROWD

    @property
    def is_large(self) -> bool:
        """Whether one read cannot look at all its tasks."""
        return len(self.pending) > PORTION

    def tick(self, now: float) -> float:
        """
        Call `on_interval` if it is due. Return the seconds until the owner has something to do.
        """
        if now >= self._tick and self._on_interval is not None:
            self._on_interval()
            self._tick = now + max(self.interval, SHORTEST_INTERVAL)
        return min(self.deadline, self._tick) - now

    @property
    def once(self) -> bool:
        """Whether the first look is the last one."""
        return self.timeout == 0

    # -- records --------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """The number of records that were delivered and not yet taken."""
        return len(self._ready) if self._ready else 0

    @property
    def is_called(self) -> bool:
        """Whether the hub must wake the owner."""
        return bool(self._ready) or self.attentive or self.fatal is not None

    @property
    def is_served(self) -> bool:
        """Whether a record can be taken, or no task is pending."""
        return bool(self._ready) or not self.pending

    def take(self) -> ResultMeta | None:
        """Return the next delivered snapshot, or `None`."""
        return self._ready.popleft() if self._ready else None

    def park(self, task_id: str) -> None:
        """Put off the looks at *task_id* until the owner has taken some records."""
        if self.parked is None:
            self.parked = []
        self.parked.append(task_id)

    def unpark(self) -> list[str]:
        """Return the tasks whose looks were put off, once."""
        parked, self.parked = self.parked, None
        return parked or []

    def looked(self, task_id: str, meta: ResultMeta | None) -> bool:
        """Accept the result of a look at *task_id*. Return whether a record was delivered."""
        if not (self.attentive or self.once):  # part of a last look may fail, and explains the rest
            self.last_error = None
        if task_id not in self.pending:
            return False
        if meta is not None and self.tail is not None and self.tail.log is None:
            # The look began before the wait, and did not read the log for it: another look must.
            self.pending[task_id] = UNLOOKED
            return False
        known = self.pending[task_id]
        if known == EARLY and not (meta is not None and meta.ready):
            self.pending[task_id] = UNLOOKED
        else:
            self.unlooked -= bool(known)
            self.pending[task_id] = ABSENT if meta is None else LOOKED
        if meta is None:
            if self.must_exist and self.pending[task_id] is ABSENT:
                self.fatal = UnknownTaskError(task_id, hint=self._hint() if self._hint else "")
            return False
        if not (meta.ready or self._is_wanted(meta)):
            return False
        if self._ready is None:
            self._ready = deque()
        self._ready.append(meta)
        if meta.ready:  # last: an interruption before this leaves the task pending
            del self.pending[task_id]
        return True

    def _is_wanted(self, meta: ResultMeta) -> bool:
        if meta.status == states.PENDING and meta.error is not None:
            # Its state cannot be read. A later write may repair it; otherwise this is the reason.
            self.last_error = meta.error
        return (self.updates or self.beats) and self._is_news(meta)

    def _is_news(self, meta: ResultMeta) -> bool:
        seen = self._seen(meta)
        if self._shown is None:
            self._shown = {}
        if same(self._shown.get(meta.task_id), seen):
            return False
        self._shown[meta.task_id] = seen
        return True

    def _seen(self, meta: ResultMeta) -> tuple[object, ...]:
        # A new heartbeat alone is no news to most, nor is another write of the same content.
        document = meta.document
        write = document.get("write_id") if self.tail is not None else None
        heartbeat = meta.heartbeat if self.beats else None
        return (
            document.get("status"), document.get("result"), document.get("traceback"), heartbeat, write,
        )  # fmt: skip

    def needs_log(self, meta: ResultMeta) -> bool:
        """Whether the log must be read before *meta* is delivered."""
        return meta.ready or not same((self._shown or {}).get(meta.task_id), self._seen(meta))

    # -- the end --------------------------------------------------------------------------

    def failed(self, error: Exception) -> None:
        """Remember that a look failed; the wait goes on."""
        self.failures += 1
        self.last_error = error

    def begin_last_look(self, now: float) -> None:
        """Let every look at a pending task wake the owner from now on."""
        self.attentive = True
        if not self.once:  # its first look is the last one, and may have begun
            self.deadline = now
            self.failures = 0

    @property
    def is_last_look_over(self) -> bool:
        """Whether the last look reached every pending task, or failed."""
        return not self.unlooked or self.failures > 0 or self.fatal is not None

    def stalled(self, trouble: Exception | None) -> None:
        """Remember that the last look got no answer, possibly because of *trouble*."""
        self.last_error = (
            self.last_error
            or trouble
            or BackendUnavailableError("the store has not answered the last look yet")
        )

    def check(self) -> None:
        """
        Raise the error that ended the wait, or after the last look the timeout. Otherwise return.
        """
        if self.fatal is not None:
            raise self.fatal
        if self.over:
            hint = self._hint() if self._hint and ABSENT in self.pending.values() else ""
            raise WaitTimeoutError(
                list(self.pending), self.timeout, self.last_error, hint=hint
            ) from self.last_error


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, as far as they can be compared."""
    try:
        return bool(one == other)
    except Exception as error:  # noqa: BLE001 - arrays in pickled records have no truth value
        pass_on_interruption(error)
        return False
