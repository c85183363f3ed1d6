"""
A store under faults: writers race, waiters wait, and all their observations are checked.

`Subject` names a store and its faults; `run` works on it meanwhile:

    report = run(Subject("notes", "notes:///tmp/n", faults=[...]), Plan(operations=100_000))
    assert not report.violations

Writers (threads and coroutines) race for the first ready record of each id. Others wait for it
with short timeouts; some wait for ids that nobody writes. The outcome of each operation goes into
a `History` of its id. From time to time, between two faults, the store must still have the records
that it acknowledged.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from .._api import by_url
from .._record.meta import ResultMeta
from .._results.results import Results
from ..aio import by_url as aio_by_url
from ..errors import BackendError
from .faults import Fault, Timetable
from .history import History
from .lateness import Metronome, holdings
from .outcome import HANGS, Report, troubles
from .stacks import stack_of
from .workers import LoopThread, Plan, Workers

__all__ = ["HANGS", "Plan", "Report", "Subject", "run"]

#: How long the store may take to serve again after a fault.
RECOVERY: Final = 60.0


@dataclass
class Subject:
    """
    A store, and the faults that happen to it.

    Args:
        url: reaches the store through the faults.
        direct_url: reaches it past the faults, to verify its records; *url* if empty.
        faults: may be empty.
        connections: returns the number of our connections that the store sees, if it can tell.
    """

    name: str
    url: str
    direct_url: str = ""
    faults: Sequence[Fault] = ()
    connections: Callable[[], int] | None = None


def run(
    subject: Subject, plan: Plan, *, progress: Callable[[Report], object] = lambda _: None
) -> Report:
    """Work on *subject* as *plan* says; call *progress* after each round."""
    return _Run(subject, plan, progress).run()


class _Run:
    #: Rounds between two checks of the store, and how many more there may be while a fault is on,
    #: so that nobody waits for its end.
    VERIFY_EVERY = 5
    LATEST = 20

    def __init__(self, subject: Subject, plan: Plan, progress: Callable[[Report], object]) -> None:
        self._subject = subject
        self._plan = plan
        self._progress = progress
        self._report = Report(subject.name)
        self._timetable = Timetable(subject.faults, pause=plan.pause, seed=plan.seed)
        self._acknowledged: dict[str, tuple[str, float]] = {}
        self._began = 0.0

    def run(self) -> Report:
        before, threads = self._holdings(), threading.enumerate()
        direct = self._subject.direct_url or self._subject.url
        with troubles(self._report), Metronome() as metronome:
            self._report.machine = metronome.lateness
            with by_url(direct, operation_timeout=RECOVERY / 4) as oracle:
                self._work(oracle)
        for error in self._timetable.errors:
            self._report.violate(f"a fault failed: {error!r}")
        self._report.faults = self._timetable.counts
        self._check_holdings(before, threads)
        return self._report

    def _work(self, oracle: Results) -> None:
        url, timeout = self._subject.url, self._plan.operation_timeout
        with ExitStack() as stack:
            loop = stack.enter_context(LoopThread(self._report))
            aio = aio_by_url(url, operation_timeout=timeout)
            stack.callback(lambda: loop.run(aio.close()))
            clients = [
                stack.enter_context(by_url(url, operation_timeout=timeout)) for _ in range(2)
            ]
            workers = Workers(self._plan, self._report, clients, aio, loop)
            self._began = time.monotonic()
            with self._timetable.running():
                self._rounds(workers, oracle)
            self._verify(oracle)

    def _rounds(self, workers: Workers, oracle: Results) -> None:
        number, due = 0, self.VERIFY_EVERY
        threads = self._plan.writers + self._plan.waiters
        with concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="chaos") as pool:
            while not self._is_done():
                began = time.monotonic()
                self._check(workers.round(number, pool), began)
                number += 1
                if number >= due:
                    with self._timetable.calm(patient=number >= due + self.LATEST) as calm:
                        if calm:
                            self._verify(oracle)
                            due = number + self.VERIFY_EVERY
                self._report.seconds = time.monotonic() - self._began
                self._report.faults = self._timetable.counts
                self._progress(self._report)

    def _is_done(self) -> bool:
        late = time.monotonic() - self._began >= self._plan.seconds
        return late or self._report.operations >= self._plan.operations

    # -- checks ---------------------------------------------------------------------------

    def _check(self, histories: Mapping[str, History], began: float) -> None:
        """Check the histories of a round that began at *began*."""
        answers = [e.won for history in histories.values() for e in history.events if e.is_store]
        refused, unanswered = answers.count(False), answers.count(None)
        self._report.count(0, ids=len(histories), refused=refused, unanswered=unanswered)
        if self._timetable.lost_since(began):
            return  # an id that the store lost is new, and may be won again
        for id_, history in histories.items():
            for fault in history.faults():
                self._report.violate(f"{id_}: {fault}")
            winners = [e for e in history.events if e.is_store and e.won]
            if len(winners) == 1:
                self._report.count(0, winners=1)
                self._acknowledged[id_] = winners[0].value, began

    def _verify(self, oracle: Results) -> None:
        """Check that the store has the records that it acknowledged, then forget them."""
        acknowledged, self._acknowledged = self._acknowledged, {}
        found = self._patiently(lambda: oracle.get_many(list(acknowledged)))
        for id_, (value, began) in acknowledged.items():
            self._confirm(found.get(id_), id_, value, began)
        self._patiently(lambda: oracle.forget_many(list(acknowledged)))
        self._report.samples.append(self._sample())

    def _confirm(self, meta: ResultMeta | None, id_: str, value: str, began: float) -> None:
        if meta is not None and meta.ready and meta.result == value:
            self._report.count(0, confirmed=1)
        elif self._timetable.lost_since(began) and (meta is None or not meta.ready):
            self._report.count(0, lost_with_the_store=1)
        else:
            known = meta is not None and meta.known
            seen = f"{meta.status} {meta.document.get('result')!r}" if meta and known else "nothing"
            self._report.violate(f"{id_}: {value!r} was acknowledged, the store has {seen}")

    def _patiently(self, operation: Callable[[], dict[str, ResultMeta] | int]) -> Any:
        deadline = time.monotonic() + RECOVERY
        while True:
            try:
                return operation()
            except BackendError as error:
                if time.monotonic() > deadline:
                    self._report.violate(f"the store did not serve again: {error}")
                    return {}
            time.sleep(0.1)

    # -- resources -------------------------------------------------------------------------

    def _holdings(self) -> dict[str, Any]:
        count = self._subject.connections
        return {**holdings(), "connections": None if count is None else count()}

    def _sample(self) -> dict[str, Any]:
        seconds = round(time.monotonic() - self._began, 1)
        return {"seconds": seconds, "operations": self._report.operations, **self._holdings()}

    def _check_holdings(
        self, before: Mapping[str, Any], threads: Collection[threading.Thread]
    ) -> None:
        """Check that all is given back, with a moment for servers to notice the end."""
        deadline = time.monotonic() + HANGS
        names = ("descriptors", "threads", "connections")
        while True:
            after = self._holdings()
            more = [n for n in names if before[n] is not None and after[n] > before[n]]
            if not more or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self._report.samples = [
            {"seconds": 0, **before},
            *self._report.samples,
            {**after, "end": True},
        ]
        for name in more:
            self._report.violate(f"{name} were {before[name]} before, and {after[name]} afterwards")
        if "threads" in more:
            new = [thread for thread in threading.enumerate() if thread not in threads]
            self._report.violate("threads of its own:\n" + "\n".join(map(stack_of, new)))
