"""
Who waits for which task, and what a look has to tell them: the part of the hub without I/O.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .. import states
from .._backends.portions import BATCH
from .._record.meta import ResultMeta
from .._runtime.interruptions import pass_on_interruption
from ..errors import BackendUnavailableError, UnknownTaskError, WaitTimeoutError
from .pacing import PORTION, Agenda

#: A worker is lost when its heartbeat stood still for so many intervals.
LOST_AFTER: Final = 3
#: A check is over within this many intervals: a worker may be spared for one.
LOST_WITHIN: Final = LOST_AFTER + 2
#: How long a check of a worker waits for a slow store besides, in seconds.
CHECK_PATIENCE: Final = 10.0
#: Heartbeats further apart than this, in seconds, are taken for a damaged record.
LONGEST_INTERVAL: Final = 1e9
#: How long past a deadline a last look may take, in seconds, before the wait gives up.
GRACE: Final = 0.04
#: How long a hub stays after the last wait, in seconds.
LINGER: Final = 1.0
#: How long rings are gathered that come one upon the other, in seconds.
GATHER: Final = 0.001
#: Seconds between calls of `on_interval`, where nobody says otherwise, and at least.
DEFAULT_INTERVAL: Final = 0.5
SHORTEST_INTERVAL: Final = 0.001
#: Waits that began within so many seconds are one crowd.
CROWD: Final = 1.0
#: How long a hub looks at what is due before it listens, in seconds.
TURN: Final = 0.02
INFINITY: Final = float("inf")


#: What is known of a pending task. A look that was under way before the wait began came too early.
LOOKED: Final = 0
UNLOOKED: Final = 1
EARLY: Final = 2
#: A look found nothing.
ABSENT: Final = None


class Waiter(ABC):
    """
    One wait for some tasks. The hub fills it, its owner takes from it.

    Args:
        task_ids: what is waited for.
        timeout: seconds from `begin`; `None` waits, 0 looks once.
        interval: seconds between calls of *on_interval*.
        on_interval: called by the owner again and again; what it raises ends the wait.
        updates: whether unready records are delivered too, as they change.
        beats: whether those with a new sign of life of the worker are, too.
        must_exist: whether a task for which nothing is stored ends the wait.
        hint: makes what the error says where nothing is stored.
    """

    # Ten thousand of them are an ordinary number: no dict each, and nothing that most do not need.
    __slots__ = (
        "_hint", "_on_interval", "_ready", "_shown", "_tick", "attentive", "beats",
        "crowd", "deadline", "failures", "fatal", "interval", "last_error", "must_exist", "over", "parked",
        "pending", "timeout", "unlooked", "updates",
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
        must_exist: bool = False,
        hint: Callable[[], str] | None = None,
    ) -> None:
        #: The tasks that have not been delivered as ready, and what is known of each.
        self.pending: dict[str, int | None] = dict.fromkeys(task_ids, UNLOOKED)
        self.timeout = timeout
        self.interval = DEFAULT_INTERVAL if interval is None else interval
        self.updates = updates
        self.beats = beats
        self.must_exist = must_exist
        self._hint = hint
        #: The store's last error, while looks fail.
        self.last_error: Exception | None = None
        #: Counts the looks that failed.
        self.failures = 0
        #: An error that no patience helps against.
        self.fatal: Exception | None = None
        #: How many pending tasks have yet to be looked at.
        self.unlooked = len(self.pending)
        #: With which others its tasks are polled: those of waits that began at about the same time. A
        #: large wait is a crowd of its own, below zero.
        self.crowd = 0.0
        #: Whether the last look began: every look wakes the owner, not only what it waits for.
        self.attentive = False
        #: Whether the last look ended: what it did not find did not come in time.
        self.over = False
        #: What is not looked at until the owner has taken what was delivered.
        self.parked: list[str] = []
        #: When the last look is due.
        self.deadline = INFINITY
        self._tick = INFINITY
        self._on_interval = on_interval
        self._ready: deque[ResultMeta] | None = None
        self._shown: dict[str, object] | None = None

    def begin(self, now: float) -> None:
        """
        Let the time of the wait run from *now* on, unless it does already.
        """
        if self.timeout is not None and self.deadline == INFINITY:
            self.deadline = now + self.timeout
        if self._on_interval is not None:
            self._tick = now + self.interval
        self.crowd = -now if self.is_large else now // CROWD

    @property
    def is_large(self) -> bool:
        """
        Whether it is for more tasks than one read looks at.
        """
        return len(self.pending) > PORTION

    def tick(self, now: float) -> float:
        """
        Call `on_interval` if it is time to; return the seconds until something is to be done.
        """
        if now >= self._tick and self._on_interval is not None:
            self._on_interval()
            self._tick = now + max(self.interval, SHORTEST_INTERVAL)
        return min(self.deadline, self._tick) - now

    @property
    def once(self) -> bool:
        """
        Whether the first look is the last one.
        """
        return self.timeout == 0

    @property
    def held(self) -> int:
        """
        How many records were delivered and not yet taken.
        """
        return len(self._ready) if self._ready else 0

    @abstractmethod
    def notify(self) -> None:
        """
        Wake the owner.
        """

    @property
    def is_called(self) -> bool:
        """
        Whether the owner is to be woken.
        """
        return bool(self._ready) or self.attentive or self.fatal is not None

    @property
    def is_served(self) -> bool:
        """
        Whether there is something to take, or nothing to wait for.
        """
        return bool(self._ready) or not self.pending

    def take(self) -> ResultMeta | None:
        """
        Return the next delivered snapshot, or `None`.
        """
        return self._ready.popleft() if self._ready else None

    def looked(self, task_id: str, meta: ResultMeta | None) -> bool:
        """
        Take in what a look at *task_id* found; return whether there was something to deliver.
        """
        if not (self.attentive or self.once):  # of a last look a part may fail, which is its reason
            self.last_error = None
        if task_id not in self.pending:
            return False
        known = self.pending[task_id]
        if known == EARLY and not (meta is not None and meta.ready):
            self.pending[task_id] = UNLOOKED
        else:
            self.unlooked -= bool(known)
            self.pending[task_id] = ABSENT if meta is None else LOOKED
            if self.must_exist and meta is None:
                self.fatal = UnknownTaskError(task_id, hint=self._hint() if self._hint else "")
        if meta is None:
            return False
        if meta.ready:
            del self.pending[task_id]
        else:
            if meta.status == states.PENDING and meta.error is not None:
                # Its state cannot be read. A later write may mend that; if none does, this is why.
                self.last_error = meta.error
            if not ((self.updates or self.beats) and self._is_news(meta)):
                return False
        self._deliver(meta)
        return True

    def _deliver(self, meta: ResultMeta) -> None:
        if self._ready is None:
            self._ready = deque()
        self._ready.append(meta)

    def _is_news(self, meta: ResultMeta) -> bool:
        # A heartbeat alone is none, nor is another write of the same.
        document = meta.document
        heartbeat = meta.heartbeat if self.beats else None
        seen = (
            document.get("status"), document.get("result"), document.get("traceback"), heartbeat,
        )  # fmt: skip
        if self._shown is None:
            self._shown = {}
        if _same(self._shown.get(meta.task_id), seen):
            return False
        self._shown[meta.task_id] = seen
        return True

    def failed(self, error: Exception) -> None:
        """
        Take in that a look failed; the wait goes on.
        """
        self.failures += 1
        self.last_error = error

    def begin_last_look(self, now: float) -> None:
        """
        Have every look at what is pending wake the owner from now on.
        """
        self.attentive = True
        if not self.once:  # whose first look this is
            self.deadline = now
            self.failures = 0

    @property
    def is_last_look_over(self) -> bool:
        """
        Whether the last look has come to all that is pending, or failed.
        """
        return not self.unlooked or self.failures > 0 or self.fatal is not None

    def stalled(self, trouble: Exception | None) -> None:
        """
        Take in that the last look got no answer, for which *trouble* may be the reason.
        """
        self.last_error = (
            self.last_error
            or trouble
            or BackendUnavailableError("the store has not answered the last look yet")
        )

    def check(self) -> None:
        """
        Raise what ends a wait that is not over: an error, or after the last look the timeout.
        """
        if self.fatal is not None:
            raise self.fatal
        if self.over:
            hint = self._hint() if self._hint and ABSENT in self.pending.values() else ""
            raise WaitTimeoutError(
                list(self.pending), self.timeout, self.last_error, hint=hint
            ) from self.last_error


class _Heartbeat:
    """
    What was seen of a worker: its last sign of life, since when, and whether it was spared.
    """

    __slots__ = ("beat", "since", "spared")

    def __init__(self, beat: object, since: float) -> None:
        self.beat = beat
        self.since = since
        self.spared = False


class Waits:
    """
    All waits of one hub. Not thread-safe: its owner guards it.
    """

    def __init__(self, *, safety_look: float, operation_timeout: float) -> None:
        self._safety_look = safety_look
        self._operation_timeout = operation_timeout
        self._agenda = Agenda()
        # In lists: most tasks have one, and a set for it is large. Those who joined first mostly leave
        # first, which is what lists are good at.
        self._waiters: dict[str, list[Waiter]] = {}
        # To be subscribed to, and in which order they came. What left is skipped there.
        self._unwatched: set[str] = set()
        self._to_watch: deque[str] = deque()
        self._watched: set[str] = set()
        self._unneeded: set[str] = set()
        self._heartbeats: dict[str, _Heartbeat] = {}
        #: When the store answered a look last.
        self.progressed = -INFINITY
        #: So many records are held for an owner at most before no more is read for it.
        self.most_held = BATCH

    @property
    def idle(self) -> bool:
        """
        Whether nobody waits.
        """
        return not self._waiters

    def join(self, waiter: Waiter, now: float) -> None:
        """
        Add *waiter*. What is looked at once is not subscribed to for its sake.
        """
        waiter.begin(now)
        waiter.unlooked = len(waiter.pending)
        for task_id in waiter.pending:
            waiters = self._waiters.get(task_id)
            if waiters is None:
                self._waiters[task_id] = [waiter]
            else:
                waiters.append(waiter)
            self._unneeded.discard(task_id)
            taken = self._agenda.is_taken(task_id)
            waiter.pending[task_id] = EARLY if taken else UNLOOKED
            if waiter.once or task_id in self._watched:
                self._agenda.add(task_id, now)
            elif task_id not in self._unwatched:
                self._unwatched.add(task_id)
                self._to_watch.append(task_id)

    def leave(self, waiter: Waiter) -> None:
        """
        Take *waiter* off what is pending; a task that nobody waits for is forgotten.
        """
        for task_id in waiter.pending:
            waiters = self._waiters.get(task_id)
            if waiters is not None and waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    self._forget(task_id)

    def _forget(self, task_id: str) -> None:
        self._waiters.pop(task_id, None)
        self._agenda.discard(task_id)
        self._unwatched.discard(task_id)
        self._heartbeats.pop(task_id, None)
        if task_id in self._watched:
            self._unneeded.add(task_id)

    def to_watch(self, limit: int, now: float) -> list[str]:
        """
        Return up to *limit* tasks to subscribe to; they are due for a look after that.
        """
        taken: list[str] = []
        # Half of them came last, and the others first: nobody waits for the end of a large wait.
        for most, pop in ((limit // 2, self._to_watch.pop), (limit, self._to_watch.popleft)):
            while self._to_watch and len(taken) < most:
                task_id = pop()
                if task_id in self._unwatched:
                    self._unwatched.remove(task_id)
                    taken.append(task_id)
        self._watched.update(taken)
        for task_id in reversed(taken):  # those that came last are called last
            self._agenda.add(task_id, now)
        return taken

    def to_unwatch(self, least: int = 1) -> list[str]:
        """
        Return the tasks whose subscription nobody needs any longer, if they are *least* or more.
        """
        if len(self._unneeded) < least:
            return []
        gone = list(self._unneeded)
        self._unneeded.clear()
        self._watched.difference_update(gone)
        return gone

    def look_again(self, waiter: Waiter, now: float) -> None:
        """
        Begin the last look of *waiter*: all its pending tasks are looked at at once.
        """
        waiter.begin_last_look(now)
        if waiter.once:
            return
        for task_id in waiter.pending:
            taken = self._agenda.is_taken(task_id)
            waiter.pending[task_id] = EARLY if taken else UNLOOKED
            self._agenda.call(task_id, ending=True)
        waiter.unlooked = len(waiter.pending)

    def patience(self, waiter: Waiter, since: float, now: float) -> float:
        """
        Return how long the owner may still wait for the last look, in seconds; 0 where it is over.

        A wait that looks only once gives each look the time of an operation, and goes on while
        looks are answered. Its owner waits *since* that time.
        """
        if waiter.is_served or waiter.is_last_look_over:
            return 0.0
        if waiter.once:
            return max(since, self.progressed) + self._operation_timeout + GRACE - now
        return waiter.deadline + GRACE - now

    def end_last_look(self, waiter: Waiter, trouble: Exception | None) -> None:
        """
        Take in that the owner waits no longer. *trouble* may be why looks are not answered.
        """
        if waiter.is_served:
            return
        waiter.over = True
        if not waiter.is_last_look_over and (waiter.once or self.progressed < waiter.deadline):
            waiter.stalled(trouble)

    def ring(self, task_ids: Iterable[str]) -> None:
        """
        Have *task_ids* looked at at once: they rang.
        """
        for task_id in task_ids:
            self._agenda.call(task_id)

    def take_due(self, now: float, limit: int = PORTION) -> list[str]:
        """
        Return at most *limit* of the tasks to look at now.
        """
        while due := self._agenda.take_due(now, limit):
            wanted = [task_id for task_id in due if not self._park(task_id)]
            if wanted:
                return wanted
        return []

    def _park(self, task_id: str) -> bool:
        """
        Put *task_id* off if all who wait for it hold as much as they may; return whether they do.
        """
        waiters = self._waiters.get(task_id)
        if not waiters:
            return False
        for waiter in waiters:
            if waiter.held < self.most_held:
                return False
        self._agenda.abandoned((task_id,))
        for waiter in waiters:
            waiter.parked.append(task_id)
        for waiter in waiters:
            if self.may_resume(waiter):  # its owner took something, and may not have seen this
                self.resume(waiter)
        return True

    def may_resume(self, waiter: Waiter) -> bool:
        """
        Whether something was put off for *waiter*, whose owner has taken what was delivered.
        """
        return bool(waiter.parked) and waiter.held < self.most_held

    def resume(self, waiter: Waiter) -> None:
        """
        Have looked at what was put off for *waiter*.
        """
        for task_id in waiter.parked:
            self._agenda.call(task_id)
        waiter.parked.clear()

    def next_look(self, now: float) -> float | None:
        """
        Return the time of the next look; `None` where there is none to come.
        """
        return now if self._unwatched else self._agenda.next_look()

    def absorb(
        self,
        task_ids: Iterable[str],
        metas: Mapping[str, ResultMeta],
        now: float,
        *,
        pushing: bool,
        lag: float = 0.0,
        unready: bool = True,
        took: float = 0.0,
    ) -> list[ResultMeta]:
        """
        Tell the waiters what a look found, which took so many seconds; return the records whose
        worker is lost.

        *pushing*, *lag* and *unready* are what the bell says of itself.
        """
        called: set[Waiter] = set()
        lost = []
        safety_look = self._safety_look if pushing else None
        self.progressed = now
        for task_id in task_ids:
            meta = metas.get(task_id)
            # None of them where they left while the look was under way.
            waiters = self._waiters.get(task_id, ())
            news, crowd = False, -INFINITY
            for waiter in waiters:
                news |= waiter.looked(task_id, meta)
                # A large wait does not slow a small one for the same task, nor an old one a new one.
                crowd = max(crowd, waiter.crowd)
                if waiter.is_called:
                    called.add(waiter)
            if meta is not None and meta.ready:
                self._agenda.abandoned((task_id,))
                self._forget(task_id)
                continue
            rings = unready or not any(waiter.updates for waiter in waiters)
            if news and not rings:
                self._agenda.changed(task_id, now)
            self._agenda.looked(task_id, now, safety_look if rings else None, lag, crowd=crowd)
            if waiters and meta is not None and self._is_lost(meta, now, took=took, rings=unready):
                lost.append(meta)
        for waiter in called:
            waiter.notify()
        return lost

    def _is_lost(self, meta: ResultMeta, now: float, *, took: float, rings: bool) -> bool:
        task_id, beat = meta.task_id, meta.heartbeat
        every = interval_of(beat)
        if every is None:
            self._heartbeats.pop(task_id, None)
            return False
        seen = self._heartbeats.get(task_id)
        if seen is None or not _same(beat, seen.beat):
            seen = self._heartbeats[task_id] = _Heartbeat(beat, now)
            self._agenda.changed(task_id, now)
        elif took > every and not seen.spared:
            # A store that was so slow for us may have been for the worker, who gets one more turn.
            seen.spared = True
            seen.since = max(seen.since, now - (LOST_AFTER - 1) * every)
        lost_at = seen.since + LOST_AFTER * every
        if now >= lost_at:
            return True
        # What does not ring is looked at in each interval: or the last sign is seen too late.
        self._agenda.hasten(task_id, lost_at if rings else min(lost_at, now + every))
        return False

    def failed(self, task_ids: Iterable[str], error: Exception, now: float) -> None:
        """
        Tell the waiters that a look failed, and set the next one.
        """
        self._tell(task_ids, lambda waiter: waiter.failed(error))
        for task_id in task_ids:
            self._agenda.looked(task_id, now, None)
            # A worker cannot give signs of life to a store that is away.
            self._heartbeats.pop(task_id, None)

    def abort(self, task_ids: Iterable[str], error: Exception) -> None:
        """
        Break the waits for *task_ids*: no patience helps against *error*.
        """
        self._agenda.abandoned(task_ids)
        self._tell(task_ids, lambda waiter: setattr(waiter, "fatal", waiter.fatal or error))

    def _tell(self, task_ids: Iterable[str], what: Callable[[Waiter], Any]) -> None:
        told = {w for task_id in task_ids for w in self._waiters.get(task_id, ())}
        for waiter in told:
            what(waiter)
            if waiter.is_called:
                waiter.notify()

    def abort_all(self, error: Exception) -> None:
        """
        Break every wait.
        """
        self.abort(list(self._waiters), error)


def _same(one: object, other: object) -> bool:
    try:
        return bool(one == other)
    except Exception as error:  # noqa: BLE001 - arrays in pickled records have no truth value
        pass_on_interruption(error)
        return False


def interval_of(heartbeat: Mapping[str, Any] | None) -> float | None:
    """
    Return the seconds between two signs of life; `None` where none can be expected.
    """
    every = heartbeat.get("every") if heartbeat else None
    # Bounded: an int of the record may be too large for a float.
    if not isinstance(every, (int, float)) or not 0 < every < LONGEST_INTERVAL:
        return None
    return float(every)
