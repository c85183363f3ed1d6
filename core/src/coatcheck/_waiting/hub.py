"""
The hub: looks for all waits of a process.

It owns the subscription: one thread that subscribes, looks, and listens, for any number of
waiting threads, which wait on a condition of their own and so keep their deadlines whatever the
driver is doing. The thread starts with the first wait and ends a second after the last one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Generator
from typing import Any

from .._backends.backend import Backend
from .._backends.bells import Bell
from .._backends.portions import BATCH, Portions
from .._record.meta import ResultMeta
from .._runtime import forks
from .._runtime.alarm import Alarm
from .._runtime.clocks import monotonic
from .._runtime.starting import start
from ..errors import BackendError, BackendUnavailableError, PartlyUnavailableError
from .pacing import PORTION
from .waits import GATHER, LINGER, TURN, Waiter, Waits

_logger = logging.getLogger("coatcheck")


class ThreadWaiter(Waiter):
    """
    A wait in a thread.
    """

    __slots__ = ("_alarm", "watch")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._alarm = Alarm()
        #: Where it waits; `None` before it does.
        self.watch: Watch | None = None

    def notify(self) -> None:
        self._alarm.ring()

    def pause(self, seconds: float) -> None:
        """
        Sleep until notified, at most *seconds*.
        """
        self._alarm.sleep(seconds)


class Hub:
    """
    Looks for everybody. Shared by threads; made anew in a forked child.

    Args:
        backend: what is looked at.
        portions: how much a look carries.
        safety_look: seconds between looks at a task under push.
        operation_timeout: seconds that one look may take.
        on_lost: makes a record of a lost worker ready, and returns what there is then.
    """

    def __init__(
        self,
        backend: Backend[ResultMeta],
        *,
        portions: Portions,
        safety_look: float,
        operation_timeout: float,
        on_lost: Callable[[ResultMeta], ResultMeta | None],
    ) -> None:
        self.backend = backend
        self.portions = portions
        self.safety_look = safety_look
        self.operation_timeout = operation_timeout
        self.on_lost = on_lost
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        self.lock = threading.Lock()
        self._watch: Watch | None = None

    @property
    def idle(self) -> bool:
        """
        Whether nobody waits.
        """
        forks.check()
        with self.lock:
            return self._watch is None or self._watch.idle

    def results(self, waiter: ThreadWaiter) -> Generator[ResultMeta, None, None]:
        """
        Iterate over what *waiter* waits for, as it comes.

        Raises `WaitTimeoutError` after its timeout and a last look.
        """
        try:
            watch = self._join(waiter)
            while True:
                watch.resume(waiter)
                while not waiter.is_served:
                    forks.check()
                    if watch.lock is not self.lock:  # of the parent: its thread is not here
                        watch = self._join(waiter)
                    watch.pause(waiter)
                if (meta := waiter.take()) is None:
                    return
                yield meta
        finally:
            # Also if a signal handler raised while the wait began. A call into C: no handler can
            # come between.
            if waiter.watch is not None:
                waiter.watch.left.append(waiter)

    def _join(self, waiter: ThreadWaiter) -> Watch:
        forks.check()
        with self.lock:
            watch = self._watch
            if watch is None:
                watch = Watch(self)
                start(watch.thread)
                self._watch = watch  # one whose start failed would never look
            waiter.watch = watch
            watch.waits.join(waiter, monotonic())
        watch.wake()
        return watch

    def dismiss(self, watch: Watch) -> None:
        """
        Let the next wait start a watch of its own. The caller holds the lock.
        """
        if self._watch is watch:
            self._watch = None

    def close(self) -> None:
        """
        Break all waits and end the thread. A later wait starts a new one.
        """
        forks.check()
        with self.lock:
            watch, self._watch = self._watch, None
            if watch is not None:
                watch.closed = True
                watch.waits.abort_all(BackendError("the result backend was closed during the wait"))
        if watch is not None:
            watch.wake()
            if watch.thread is not threading.current_thread():
                # Not for longer than it stays anyway: it may be in the middle of a read.
                watch.thread.join(LINGER)


class Watch:
    """
    One life of the hub's thread: its waits, its subscription.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.lock = hub.lock
        self._backend = hub.backend
        self._portions = hub.portions
        self.waits = Waits(safety_look=hub.safety_look, operation_timeout=hub.operation_timeout)
        # Waits that ended. A generator may be closed by the garbage collector, in any thread and
        # in the middle of anything, so leaving takes no lock: the thread clears up later.
        self.left: deque[Waiter] = deque()
        self.thread = threading.Thread(target=self._run, name="coatcheck-hub", daemon=True)
        self.closed = False
        self._bell: Bell | None = None
        # Whether the last turn heard something: those who wait come first, clearing up later.
        self._ringing = False

    @property
    def idle(self) -> bool:
        """
        Whether nobody waits. The caller holds the lock.
        """
        self._clear_up()
        return self.waits.idle

    def wake(self) -> None:
        """
        End the thread's pause. For any thread.
        """
        bell = self._bell
        if bell is not None:
            bell.wake()

    def resume(self, waiter: ThreadWaiter) -> None:
        """
        Have read what was put off, if the owner has taken what was found before.
        """
        if self.waits.may_resume(waiter):
            with self.lock:
                self.waits.resume(waiter)
            self.wake()

    def pause(self, waiter: ThreadWaiter) -> None:
        """
        Wait until something was found or is to be done. Raises what ends the wait.
        """
        waiter.check()
        now = monotonic()
        if now < waiter.deadline:
            waiter.pause(waiter.tick(now))
        else:
            self._last_look(waiter)

    def _last_look(self, waiter: ThreadWaiter) -> None:
        """
        Have the pending tasks looked at, see `Waits.patience`.
        """
        since = monotonic()
        if not waiter.attentive:
            with self.lock:
                self.waits.look_again(waiter, since)
            self.wake()
        while (seconds := self.waits.patience(waiter, since, monotonic())) > 0:
            waiter.pause(seconds)
        self.waits.end_last_look(waiter, self._backend.trouble)

    # -- the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            try:
                with self._backend.watch() as bell:
                    self._serve(bell)
            except (BackendError, OSError) as error:  # such as no free descriptor
                _logger.warning("no subscription, polling instead: %s", error)
                self._serve(Bell())
        except Exception as error:
            _logger.exception("the hub failed, and with it all waits")
            with self.lock:
                self._hub.dismiss(self)
                self.waits.abort_all(error)

    def _serve(self, bell: Bell) -> None:
        self._bell = bell
        try:
            while self._turn(bell):
                pass
        finally:
            self._bell = None

    def _turn(self, bell: Bell) -> bool:
        """
        Look, subscribe, listen; `False` when the thread is to end.
        """
        self._look_at_due(bell)  # what rang comes first
        self._update_subscription(bell)
        with self.lock:
            now = monotonic()
            at = self.waits.next_look(now)
            was_idle = self.waits.idle
        # Never longer than the thread stays: nobody wakes it when the last wait has left.
        rang = self._listen(bell, LINGER if at is None else min(max(at - now, 0.0), LINGER))
        with self.lock:
            self.waits.ring(rang)
            # A wake may have come late, for a wait that is over: it does not end the thread early.
            stayed = monotonic() - now >= LINGER / 2
            if self.closed or (was_idle and stayed and self.idle):
                self._hub.dismiss(self)
                return False
        return True

    def _clear_up(self) -> None:
        while self.left:
            self.waits.leave(self.left.popleft())

    def _listen(self, bell: Bell, seconds: float) -> Collection[str]:
        """
        Return what rang. Where one ring follows the other, one read is to serve many of them.
        """
        start = monotonic()
        rang = bell.wait(seconds)
        if rang and self._ringing and seconds > 0 and monotonic() - start < GATHER:
            time.sleep(GATHER)
            rang = {*rang, *bell.wait(0)}
        self._ringing = bool(rang)
        return rang

    def _update_subscription(self, bell: Bell) -> None:
        with self.lock:
            self._clear_up()
            fresh = self.waits.to_watch(BATCH, monotonic())
        if fresh:
            bell.add(fresh)  # a barrier: the look comes after it
            self._look_at_due(bell)
        with self.lock:
            self._clear_up()
            gone = self.waits.to_unwatch(BATCH if self._ringing else 1)
        if gone:
            bell.discard(gone)

    def _look_at_due(self, bell: Bell) -> None:
        now = monotonic()
        end = now + TURN
        while portion := self._take_due(now):
            self._look(portion, bell)
            if (now := monotonic()) >= end:
                return

    def _take_due(self, now: float) -> list[str]:
        with self.lock:
            return self.waits.take_due(now, self._portions.count(PORTION))

    def _look(self, task_ids: list[str], bell: Bell) -> None:
        began = monotonic()
        try:
            metas = self._backend.get_many(task_ids)
        except PartlyUnavailableError as error:
            read = [task_id for task_id in task_ids if task_id not in error.unread]
            self._found(read, error.found, bell, began)
            # Last, so that a wait for some of both knows of it.
            self._failed(list(error.unread), error)
        except BackendError as error:
            if isinstance(error, BackendUnavailableError):
                self._portions.failed(len(task_ids))
            self._failed(task_ids, error)
        except Exception as error:  # noqa: BLE001 - raised in the threads that wait
            with self.lock:
                self.waits.abort(task_ids, error)
        else:
            self._portions.came(len(task_ids), metas.values(), monotonic() - began)
            self.waits.most_held = self._portions.held
            self._found(task_ids, metas, bell, began)

    def _found(
        self, task_ids: list[str], metas: dict[str, ResultMeta], bell: Bell, began: float
    ) -> None:
        for observed in self._tell(task_ids, metas, bell, began):
            meta = self._hub.on_lost(observed)
            if meta is not None:
                self._tell([meta.task_id], {meta.task_id: meta}, bell, monotonic())

    def _failed(self, task_ids: list[str], error: BackendError) -> None:
        _logger.debug("a look failed: %s", error)
        with self.lock:
            self.waits.failed(task_ids, error, monotonic())

    def _tell(
        self, task_ids: list[str], metas: dict[str, ResultMeta], bell: Bell, began: float
    ) -> list[ResultMeta]:
        took = monotonic() - began
        with self.lock:
            return self.waits.absorb(
                task_ids,
                metas,
                monotonic(),
                pushing=bell.pushing,
                lag=bell.lag,
                unready=bell.unready,
                took=took,
            )
