"""
The hub for threads: one thread looks for all waits of a process.

A waiting thread sleeps on an alarm of its own, and so keeps its deadline even if a driver blocks the hub.
The hub's thread starts with the first wait and ends a second after the last one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any

from .._backends.bells import Bell
from .._record.meta import ResultMeta
from .._runtime import forks
from .._runtime.alarm import Alarm
from .._runtime.clocks import monotonic
from .._runtime.starting import start
from ..errors import BackendError
from .waiter import Waiter
from .watch import LINGER, UNSUBSCRIBED, HubBase, Steps, Watch


class ThreadWaiter(Waiter):
    """A wait in a thread."""

    __slots__ = ("_alarm", "watch")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._alarm = Alarm()
        #: The watch that it joined; `None` before that.
        self.watch: ThreadWatch | None = None

    def notify(self) -> None:
        self._alarm.ring()

    def pause(self, seconds: float) -> None:
        """Sleep until notified, at most *seconds*."""
        self._alarm.sleep(seconds)


class Hub(HubBase):
    """Shared by threads. A forked child starts anew."""

    def __init__(self, backend: Any, **options: Any) -> None:
        super().__init__(backend, **options)
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        self.lock = threading.Lock()
        self._watch: ThreadWatch | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody waits."""
        forks.check()
        with self.lock:
            return self._watch is None or self._watch.idle

    def results(self, waiter: ThreadWaiter) -> Generator[ResultMeta, None, None]:
        """
        Iterate over the records that *waiter* waits for, as they come.

        Raises `WaitTimeoutError` after its timeout and a last look.
        """
        try:
            watch: ThreadWatch | None = None
            while True:
                forks.check()
                # A parent's watch has its thread elsewhere.
                if watch is None or watch.lock is not self.lock:
                    watch = self._join(waiter)
                if (seconds := watch.next_pause(waiter)) is not None:
                    waiter.pause(seconds)
                elif (meta := waiter.take()) is not None:
                    yield meta
                else:
                    return
        finally:
            # Also after an exception of a signal handler during the join. This is one call into C,
            # which no handler interrupts.
            if waiter.watch is not None:
                waiter.watch.left.append(waiter)

    def _join(self, waiter: ThreadWaiter) -> ThreadWatch:
        with self.lock:
            watch = self._watch
            if watch is None:
                watch = ThreadWatch(self)
                start(watch.thread)
                self._watch = watch  # not before: a watch without a thread would never look
            waiter.watch = watch
            watch.waits.join(waiter, monotonic())
        watch.wake()
        return watch

    def dismiss(self, watch: ThreadWatch) -> None:
        """Let the next wait start a new watch. The caller holds the lock."""
        if self._watch is watch:
            self._watch = None

    def close(self) -> None:
        """End all waits and the thread. A later wait starts a new one."""
        forks.check()
        with self.lock:
            watch, self._watch = self._watch, None
            if watch is not None:
                watch.closed = True
                watch.waits.abort_all(BackendError("the result backend was closed during the wait"))
        if watch is not None:
            watch.wake()
            if watch.thread is not threading.current_thread():
                # No longer than an idle hub stays: a read may be under way.
                watch.thread.join(LINGER)


class ThreadWatch(Watch):
    """One life of the hub's thread."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub, lock=hub.lock, sleep=time.sleep)
        self._hub = hub
        self.thread = threading.Thread(target=self._run, name="coatcheck-hub", daemon=True)

    def _run(self) -> None:
        try:
            try:
                with self._backend.watch() as bell:
                    self._drive(self.serve(bell))
            except UNSUBSCRIBED as error:
                self.poll(error)
                self._drive(self.serve(Bell()))
        except Exception as error:  # noqa: BLE001 - raised by the waits
            self._hub.dismiss(self)
            self.break_down(error)

    def _drive(self, steps: Steps) -> None:
        """Make the calls of *steps*, which runs under the lock; the calls do not."""
        answer: Any = None
        error: BaseException | None = None
        while True:
            with self.lock:
                try:
                    call = steps.send(answer) if error is None else steps.throw(error)
                except StopIteration:
                    self._hub.dismiss(self)  # under the lock: nobody joins a watch that ends
                    return
            try:
                answer, error = call(), None
            except BaseException as raised:  # noqa: BLE001 - raised where the call was asked for
                answer, error = None, raised
