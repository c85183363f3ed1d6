"""
Faults of a store, with a beginning and an end, and a timetable for them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from .proxy import Proxy


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Fault:
    """
    One kind of trouble.

    Args:
        begin: starts it.
        end: ends it; the store serves again when it returns, or soon after.
        loses: whether the store may lose acknowledged records before the end.
        longest: its longest duration in seconds.
    """

    name: str
    begin: Callable[[], object]
    end: Callable[[], object] = _nothing
    loses: bool = False
    longest: float = 1.5


def network_faults(proxy: Proxy) -> list[Fault]:
    """Return all faults of the connections through *proxy*."""
    return [
        Fault("cut", proxy.cut, longest=0.0),
        Fault("reset", proxy.reset, longest=0.0),
        Fault("delay", partial(proxy.delay, 0.05), partial(proxy.delay, 0.0)),
        Fault("stall", proxy.stall, proxy.resume),
        Fault("refuse", proxy.refuse, proxy.accept),
        Fault("drop replies", partial(proxy.drop_replies, 20), partial(proxy.drop_replies, 0)),
        Fault("truncate", partial(proxy.truncate_replies, 20), partial(proxy.truncate_replies, 0)),
    ]


def stopped(processes: Callable[[], Iterable[int]], name: str = "stop") -> Fault:
    """Return a fault that stops *processes*, by their ids, with SIGSTOP, and resumes them."""
    # Those that were stopped go on, whichever there are by then.
    stopped_ones: list[int] = []

    def stop() -> None:
        stopped_ones.extend(processes())
        _signal(stopped_ones, signal.SIGSTOP)

    def resume() -> None:
        _signal(stopped_ones, signal.SIGCONT)
        stopped_ones.clear()

    return Fault(name, stop, resume)


def _signal(processes: Iterable[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


class Timetable:
    """
    Runs faults one at a time and in random order, in a thread, within `running()`.

    Args:
        faults: each occurs once before any repeats; those that lose, every third time.
        pause: seconds between two of them, at least and at most.
        seed: of the random choices.
    """

    def __init__(
        self, faults: Sequence[Fault], *, pause: tuple[float, float], seed: int | None = None
    ) -> None:
        self._faults = list(faults)
        self._pause = pause
        self._random = random.Random(seed)  # noqa: S311 - not a secret
        self._quiet = threading.Lock()
        self._over = threading.Event()
        self._losses: list[tuple[float, float]] = []
        #: How often each began.
        self.counts: Counter[str] = Counter()
        #: Errors of the faults themselves, which show that they did not happen.
        self.errors: list[Exception] = []

    def lost_since(self, moment: float) -> bool:
        """Whether the store may have lost records after *moment*, of the monotonic clock."""
        return any(ended >= moment for _, ended in self._losses)

    @contextlib.contextmanager
    def calm(self, *, patient: bool) -> Iterator[bool]:
        """
        Let no fault begin. Yield `False` if one is on, unless *patient*, which waits for its end.
        """
        calm = self._quiet.acquire(blocking=patient)
        try:
            yield calm
        finally:
            if calm:
                self._quiet.release()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run faults until the block ends; then all are over."""
        thread = threading.Thread(target=self._run, name="faults", daemon=True)
        if self._faults:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            if self._faults:
                thread.join()

    def _run(self) -> None:
        keeping = [fault for fault in self._faults if not fault.loses]
        for turn in itertools.count(1):
            faults = self._faults if turn % 3 == 0 or not keeping else keeping
            for fault in self._random.sample(faults, len(faults)):
                if self._over.wait(self._random.uniform(*self._pause)):
                    return
                with self._quiet:
                    self._inflict(fault)

    def _inflict(self, fault: Fault) -> None:
        began = time.monotonic()
        if fault.loses:
            # From now on, and not only from its end: `lost_since` may be asked meanwhile.
            self._losses.append((began, float("inf")))
        self.counts[fault.name] += 1
        try:
            fault.begin()
            self._over.wait(self._random.uniform(0.2, 1.0) * fault.longest)
        except Exception as error:  # noqa: BLE001 - told at the end of it all
            self.errors.append(error)
        finally:
            try:
                fault.end()
            except Exception as error:  # noqa: BLE001 - as above
                self.errors.append(error)
            if fault.loses:
                self._losses[-1] = (began, time.monotonic())
