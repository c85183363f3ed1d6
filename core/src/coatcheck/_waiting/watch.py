"""
The decisions of a hub, written once for threads and for asyncio.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final

from .._backends.portions import BATCH, Portions
from .._record.meta import ResultMeta
from .._runtime.clocks import monotonic
from ..errors import BackendError, BackendUnavailableError, PartlyUnavailableError
from .pacing import PORTION
from .tail import Tail
from .waiter import Waiter
from .waits import Waits

_logger = logging.getLogger("coatcheck")

#: A hub stays this many seconds after the last wait.
LINGER: Final = 1.0
#: Rings that follow each other are gathered for this many seconds.
GATHER: Final = 0.001
#: A hub looks for this many seconds before it listens again.
TURN: Final = 0.02
#: With these errors a subscription fails and waits poll. `OSError` is, for one, no free descriptor.
UNSUBSCRIBED: Final = (BackendError, OSError)

#: Yields calls that may block. Receives the result of each, or its exception.
Steps = Generator[Callable[[], Any], Any, None]


class HubBase:
    """
    Looks for everybody.

    Args:
        backend: the store to look at.
        portions: limits the size of a look.
        safety_look: seconds between looks at a task under push.
        operation_timeout: seconds that one look may take.
        on_lost: replaces the record of a lost worker by a failure, and returns the record then stored.
    """

    def __init__(
        self,
        backend: Any,
        *,
        portions: Portions,
        safety_look: float,
        operation_timeout: float,
        on_lost: Callable[[ResultMeta], Any],
    ) -> None:
        self.backend = backend
        self.portions = portions
        self.safety_look = safety_look
        self.operation_timeout = operation_timeout
        self.on_lost = on_lost


class Watch:
    """
    One life of a hub: its waits and its subscription.

    Args:
        hub: the hub.
        lock: guards the waits. `serve` runs while its driver holds it, and releases it for each call.
        sleep: the side's function that sleeps.
    """

    def __init__(
        self,
        hub: HubBase,
        *,
        lock: AbstractContextManager[object],
        sleep: Callable[[float], object],
    ) -> None:
        self.lock = lock
        self._sleep = sleep
        self._backend = hub.backend
        self._portions = hub.portions
        self._on_lost = hub.on_lost
        self.waits = Waits(safety_look=hub.safety_look, operation_timeout=hub.operation_timeout)
        # Waits that ended. They leave by a call into C, without the lock: the garbage collector may
        # end a wait in any thread and in the middle of anything.
        self.left: deque[Waiter] = deque()
        #: Whether `serve` must end.
        self.closed = False
        self._bell: Any = None
        # Whether the last turn heard a ring. Then waiters come before clearing up.
        self._ringing = False

    @property
    def idle(self) -> bool:
        """Whether nobody waits. The caller holds the lock."""
        self._clear_up()
        return self.waits.idle

    def wake(self) -> None:
        """End the pause of `serve`. For any thread."""
        bell = self._bell
        if bell is not None:
            bell.wake()

    # -- for the owner of a wait ----------------------------------------------------------

    def next_pause(self, waiter: Waiter) -> float | None:
        """
        Return the seconds that the owner of *waiter* sleeps, or until it is notified, before it asks
        again. Return `None` if a record can be taken or nothing is pending. Raises the error that ends
        the wait.
        """
        if waiter.parked and self.waits.may_resume(waiter):
            with self.lock:
                waiter.since = monotonic()
                self.waits.resume(waiter)
            self.wake()
        if waiter.is_served:
            return None
        waiter.check()
        now = monotonic()
        if now < waiter.deadline:
            return waiter.tick(now)
        return self._last_pause(waiter, now)

    def _last_pause(self, waiter: Waiter, now: float) -> float | None:
        if not waiter.attentive:
            with self.lock:
                self.waits.look_again(waiter, now)
            self.wake()
        seconds = self.waits.patience(waiter, now)
        if seconds > 0:
            return seconds
        trouble = self._backend.trouble
        with self.lock:  # a delivery may be under way
            self.waits.end_last_look(waiter, trouble)
        return self.next_pause(waiter)

    # -- for the driver -------------------------------------------------------------------

    def serve(self, bell: Any) -> Steps:
        """Look, subscribe and listen until nobody has waited for a while."""
        self._bell = bell
        try:
            ending = False
            while not ending:
                yield from self._look_at_due()  # first: tasks may have rung
                yield from self._update_subscription()
                ending = yield from self._listen()
        finally:
            self._bell = None

    def poll(self, error: Exception) -> None:
        """Report that there is no subscription because of *error*."""
        _logger.warning("no subscription, polling instead: %s", error)

    def break_down(self, error: Exception) -> None:
        """End all waits by *error*, which `serve` raised."""
        _logger.error("the hub failed, and with it all waits", exc_info=error)
        with self.lock:
            self.waits.abort_all(error)

    def refresh(self) -> None:
        """
        Repeat wake-ups that an exception of a signal handler may have cut short. At least once a second.
        """
        self.waits.notify()

    def _clear_up(self) -> None:
        while self.left:
            self.waits.leave(self.left.popleft())

    def _listen(self) -> Generator[Callable[[], Any], Any, bool]:
        """Wait for rings, or for the time of the next look. Return whether to end."""
        now = monotonic()
        at = self.waits.next_look(now)
        was_idle = self.waits.idle
        # At most as long as a hub stays: nobody wakes it when the last wait has left.
        seconds = LINGER if at is None else min(max(at - now, 0.0), LINGER)
        rang: Collection[str] = yield partial(self._bell.wait, seconds)
        if rang and self._ringing and seconds > 0 and monotonic() - now < GATHER:
            # One ring follows the other: let one read serve many of them.
            yield partial(self._sleep, GATHER)
            rang = {*rang, *(yield partial(self._bell.wait, 0))}
        self._ringing = bool(rang)
        self.waits.ring(rang)
        self.refresh()
        # A wake-up may come late, for a wait that is over. It must not end the hub early.
        stayed = monotonic() - now >= LINGER / 2
        return self.closed or (was_idle and stayed and self.idle)

    def _update_subscription(self) -> Steps:
        self._clear_up()
        fresh = self.waits.to_watch(BATCH, monotonic())
        if fresh:
            yield partial(self._bell.add, fresh)  # a barrier: the look comes after it
            yield from self._look_at_due()
        self._clear_up()
        gone = self.waits.to_unwatch(BATCH if self._ringing else 1)
        if gone:
            yield partial(self._bell.discard, gone)

    def _look_at_due(self) -> Steps:
        now = monotonic()
        end = now + TURN
        while due := self.waits.take_due(now, self._portions.count(PORTION)):
            yield from self._look(due)
            if (now := monotonic()) >= end:
                return

    def _look(self, task_ids: list[str]) -> Steps:
        began = monotonic()
        try:
            metas = yield partial(self._backend.get_many, task_ids)
        except PartlyUnavailableError as error:
            read = [task_id for task_id in task_ids if task_id not in error.unread]
            yield from self._found(read, error.found, began)
            # Last, so that a wait for some of both knows of the error.
            yield from self._failed(list(error.unread), error)
        except BackendError as error:
            if isinstance(error, BackendUnavailableError):
                self._portions.failed(len(task_ids))
            yield from self._failed(task_ids, error)
        except Exception as error:  # noqa: BLE001 - raised by the waits
            self.waits.abort(task_ids, error)
        else:
            self._portions.came(len(task_ids), metas.values(), monotonic() - began)
            self.waits.most_held = self._portions.held
            if tails := self.waits.tails(metas):
                task_ids = yield from self._read_logs(task_ids, tails)
            yield from self._found(task_ids, metas, began)

    def _read_logs(
        self, task_ids: list[str], tails: list[tuple[str, Tail]]
    ) -> Generator[Callable[[], Any], Any, list[str]]:
        """
        Read the logs after the records: that of a ready one is complete. Return those of *task_ids* whose
        logs could be read.
        """
        unread: set[str] = set()
        for task_id, tail in tails:
            try:
                tail.log = yield partial(self._backend.get_log, task_id, tail.after)
            except BackendError as error:
                unread.add(task_id)
                yield from self._failed([task_id], error)
            except Exception as error:  # noqa: BLE001 - raised by the waits
                unread.add(task_id)
                self.waits.abort([task_id], error)
        return [task_id for task_id in task_ids if task_id not in unread]

    def _found(self, task_ids: list[str], metas: Mapping[str, ResultMeta], began: float) -> Steps:
        for observed in self._deliver(task_ids, metas, began):
            meta = yield partial(self._on_lost, observed)
            if meta is not None:
                self._deliver([meta.task_id], {meta.task_id: meta}, monotonic())

    def _deliver(
        self, task_ids: list[str], metas: Mapping[str, ResultMeta], began: float
    ) -> list[ResultMeta]:
        bell, now = self._bell, monotonic()
        return self.waits.absorb(
            task_ids,
            metas,
            now,
            pushing=bell.pushing,
            lag=bell.lag,
            unready=bell.unready,
            took=now - began,
        )

    def _failed(self, task_ids: list[str], error: BackendError) -> Steps:
        yield partial(_logger.debug, "a look failed: %s", error)
        self.waits.failed(task_ids, error, monotonic())
