"""
All waits of one hub, with the looks and the subscriptions that they need. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from .._backends.portions import BATCH
from .._record.meta import ResultMeta
from .heartbeats import Heartbeats
from .pacing import PORTION, Agenda
from .subscribed import Subscribed
from .tail import Tail
from .waiter import EARLY, INFINITY, UNLOOKED, Waiter

#: A last look may take this many seconds past the deadline before the wait gives up.
GRACE: Final = 0.04


class Waits:
    """All waits of one hub. Not thread-safe: its owner guards it."""

    def __init__(self, *, safety_look: float, operation_timeout: float) -> None:
        self._safety_look = safety_look
        self._operation_timeout = operation_timeout
        self._agenda = Agenda()
        self._heartbeats = Heartbeats(self._agenda)
        # In lists: most tasks have one waiter, and a set is large. Most waiters that joined first also
        # leave first, which suits a list.
        self._waiters: dict[str, list[Waiter]] = {}
        self._subscribed = Subscribed()
        self._following: set[Waiter] = set()
        # Waiters that must be woken. An interruption before that leaves them here.
        self._called: set[Waiter] = set()
        #: When the store last answered a look.
        self.progressed = -INFINITY
        #: A waiter that holds this many records gets no more until its owner takes some.
        self.most_held = BATCH

    @property
    def idle(self) -> bool:
        """Whether nobody waits."""
        return not self._waiters

    # -- joining and leaving --------------------------------------------------------------

    def join(self, waiter: Waiter, now: float) -> None:
        """Add *waiter*. A wait that looks once subscribes to nothing."""
        waiter.begin(now)
        if waiter.tail is not None:
            self._following.add(waiter)
        waiter.unlooked = len(waiter.pending)
        for task_id in waiter.pending:
            waiters = self._waiters.get(task_id)
            if waiters is None:
                self._waiters[task_id] = [waiter]
            else:
                waiters.append(waiter)
            taken = self._agenda.is_taken(task_id)
            waiter.pending[task_id] = EARLY if taken else UNLOOKED
            if self._subscribed.covers(task_id, ask=not waiter.once) or waiter.once:
                self._agenda.add(task_id, now)

    def leave(self, waiter: Waiter) -> None:
        """Remove *waiter*, and forget the tasks that nobody else waits for."""
        self._following.discard(waiter)
        for task_id in waiter.pending:
            waiters = self._waiters.get(task_id)
            if waiters is not None and waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    self._forget(task_id)

    def _settle(self, task_id: str, now: float) -> None:
        """Forget a task that is over, unless somebody who follows it came too late for the look."""
        left = [w for w in self._waiters.get(task_id, ()) if w.tail and task_id in w.pending]
        if left:
            self._waiters[task_id] = left
            self._agenda.add(task_id, now)
        else:
            self._forget(task_id)

    def _forget(self, task_id: str) -> None:
        self._waiters.pop(task_id, None)
        self._agenda.discard(task_id)
        self._heartbeats.forget(task_id)
        self._subscribed.release(task_id)

    # -- subscriptions --------------------------------------------------------------------

    def to_watch(self, limit: int, now: float) -> list[str]:
        """Return up to *limit* tasks to subscribe to. A look at each of them becomes due."""
        taken = self._subscribed.take(limit)
        for task_id in reversed(taken):  # those that came last are called last
            self._agenda.add(task_id, now)
        return taken

    def to_unwatch(self, least: int = 1) -> list[str]:
        """Return the tasks with a needless subscription, if there are at least *least*."""
        return self._subscribed.take_unneeded(least)

    # -- the last look --------------------------------------------------------------------

    def look_again(self, waiter: Waiter, now: float) -> None:
        """Begin the last look of *waiter*: make all its pending tasks due."""
        waiter.begin_last_look(now)
        if waiter.once:
            return
        for task_id in waiter.pending:
            taken = self._agenda.is_taken(task_id)
            waiter.pending[task_id] = EARLY if taken else UNLOOKED
            self._agenda.call(task_id, ending=True)
        waiter.unlooked = len(waiter.pending)

    def patience(self, waiter: Waiter, now: float) -> float:
        """
        Return the seconds that the owner may still wait for the last look; at most 0 if it is over.

        For a wait that looks once, each look has the time of an operation, and the wait goes on while
        the store answers.
        """
        if waiter.is_served or waiter.is_last_look_over:
            return 0.0
        if waiter.once:
            return max(waiter.since, self.progressed) + self._operation_timeout + GRACE - now
        return waiter.deadline + GRACE - now

    def end_last_look(self, waiter: Waiter, trouble: Exception | None) -> None:
        """End the wait of *waiter*. *trouble* may be the reason for looks without an answer."""
        if waiter.is_served:
            return
        waiter.over = True
        if not waiter.is_last_look_over and (waiter.once or self.progressed < waiter.deadline):
            waiter.stalled(trouble)

    # -- looks ----------------------------------------------------------------------------

    def ring(self, task_ids: Iterable[str]) -> None:
        """Make a look at *task_ids* due, because they rang."""
        for task_id in task_ids:
            self._agenda.call(task_id)

    def take_due(self, now: float, limit: int = PORTION) -> list[str]:
        """Return up to *limit* tasks to look at now."""
        while due := self._agenda.take_due(now, limit):
            wanted = [task_id for task_id in due if not self._park(task_id)]
            if wanted:
                return wanted
        return []

    def _park(self, task_id: str) -> bool:
        """
        Put off the look at *task_id* if its waiters all hold enough. Return whether it was put off.
        """
        waiters = self._waiters.get(task_id)
        if not waiters:
            return False
        for waiter in waiters:
            if waiter.held < self.most_held:
                return False
        self._agenda.abandoned((task_id,))
        for waiter in waiters:
            waiter.park(task_id)
        for waiter in waiters:
            if self.may_resume(
                waiter
            ):  # its owner may have taken a record before the task was parked
                self.resume(waiter)
        return True

    def may_resume(self, waiter: Waiter) -> bool:
        """Return whether looks were put off for *waiter* and its owner has taken some records."""
        return waiter.parked is not None and waiter.held < self.most_held

    def resume(self, waiter: Waiter) -> None:
        """Make the looks due that were put off for *waiter*."""
        for task_id in waiter.unpark():
            self._agenda.call(task_id)

    def next_look(self, now: float) -> float | None:
        """Return the time of the next look, or `None` if no task needs one."""
        return now if self._subscribed.incomplete else self._agenda.next_look()

    def tails(self, metas: Mapping[str, ResultMeta]) -> list[tuple[str, Tail]]:
        """Return the tasks of *metas* whose log must be read, each with who follows it."""
        if not self._following:
            return []
        return [
            (task_id, waiter.tail)
            for waiter in self._following
            for task_id in waiter.pending
            if waiter.tail and task_id in metas and waiter.needs_log(metas[task_id])
        ]

    # -- results of looks -----------------------------------------------------------------

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
        Deliver the records that a look found. Return those whose worker is lost.

        Args:
            took: the seconds that the look took.
            pushing, lag, unready: the bell's attributes.
        """
        lost, called = [], self._called
        safety_look = self._safety_look if pushing else None
        self.progressed = now
        for task_id in task_ids:
            meta = metas.get(task_id)
            # Empty if they left during the look.
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
                self._settle(task_id, now)
                continue
            rings = unready or not any(waiter.updates for waiter in waiters)
            if news and not rings:
                self._agenda.changed(task_id, now)
            self._agenda.looked(task_id, now, safety_look if rings else None, lag, crowd=crowd)
            if (
                waiters
                and meta is not None
                and self._heartbeats.is_lost(meta, now, took=took, rings=unready)
            ):
                lost.append(meta)
        self.notify()
        return lost

    def failed(self, task_ids: Iterable[str], error: Exception, now: float) -> None:
        """Report a failed look to the waiters, and plan the next one."""
        for waiter in self._waiters_of(task_ids):
            waiter.failed(error)
        for task_id in task_ids:
            self._agenda.looked(task_id, now, None)
            # No worker can write a heartbeat to a store that is away.
            self._heartbeats.forget(task_id)
        self.notify()

    def abort(self, task_ids: Iterable[str], error: Exception) -> None:
        """End the waits for *task_ids* by *error*."""
        self._agenda.abandoned(task_ids)
        for waiter in self._waiters_of(task_ids):
            waiter.fatal = waiter.fatal or error
            self._called.add(waiter)
        self.notify()

    def abort_all(self, error: Exception) -> None:
        """End every wait by *error*."""
        self.abort(list(self._waiters), error)

    def _waiters_of(self, task_ids: Iterable[str]) -> set[Waiter]:
        waiters = {w for task_id in task_ids for w in self._waiters.get(task_id, ())}
        self._called.update(waiter for waiter in waiters if waiter.is_called)
        return waiters

    def notify(self) -> None:
        """Wake the owners that have something to do."""
        if self._called:
            for waiter in self._called:
                waiter.notify()
            self._called.clear()
