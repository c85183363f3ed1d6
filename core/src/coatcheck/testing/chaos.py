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

import asyncio
import concurrent.futures
import logging
import math
import os
import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

from .._finding.resolver import by_url
from .._record.meta import ResultMeta
from .._results.results import Results
from ..aio import Results as AioResults
from ..aio import by_url as aio_by_url
from ..errors import BackendError, CoatcheckError, WaitTimeoutError
from .awaited import awaited, driven
from .faults import Fault, Timetable
from .history import Event, History
from .lateness import Lateness, Metronome, holdings
from .stacks import stack_of

T = TypeVar("T")

#: An operation this many seconds over its time hangs, on any machine.
HANGS: Final = 10.0
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


@dataclass(frozen=True)
class Plan:
    """
    How long to work, and how hard.

    Args:
        operations: end after this number.
        seconds: or after this time.
        writers: racing threads; a third as many coroutines, at least one, join them.
        waiters: waiting threads, and as many coroutines.
        ids: the number of ids in a round.
        operation_timeout: of the clients.
        longest_wait: the upper bound of the timeouts of waits.
        pause: between two faults, at least and at most.
    """

    operations: float = math.inf
    seconds: float = math.inf
    writers: int = 3
    waiters: int = 3
    ids: int = 24
    operation_timeout: float = 1.0
    longest_wait: float = 1.0
    pause: tuple[float, float] = (0.2, 1.0)
    seed: int | None = None


@dataclass
class Report:
    """The outcome of a run. The store kept its promises if `violations` is empty."""

    store: str
    operations: int = 0
    seconds: float = 0.0
    ids: int = 0
    winners: int = 0
    refused: int = 0
    unanswered: int = 0
    confirmed: int = 0
    lost_with_the_store: int = 0
    waits_served: int = 0
    waits_timed_out: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)
    threads_lateness: Lateness = field(default_factory=Lateness)
    tasks_lateness: Lateness = field(default_factory=Lateness)
    overruns: Lateness = field(default_factory=Lateness)
    machine: Lateness = field(default_factory=Lateness)
    samples: list[dict[str, Any]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Return the report as plain data."""
        plain = {k: v for k, v in vars(self).items() if not isinstance(v, Lateness)}
        figures = {k: v.told() for k, v in vars(self).items() if isinstance(v, Lateness)}
        return {**plain, "seconds": round(self.seconds, 1), **figures}


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
        self.subject = subject
        self.plan = plan
        self.progress = progress
        self.report = Report(subject.name)
        self.timetable = Timetable(subject.faults, pause=plan.pause, seed=plan.seed)
        self._lock = threading.Lock()
        self._random = random.Random(plan.seed)  # noqa: S311 - not a secret
        self._acknowledged: dict[str, tuple[str, float]] = {}
        self._began = 0.0

    def run(self) -> Report:
        before, threads = self._holdings(), threading.enumerate()
        with _troubles(self._violate), Metronome() as metronome:
            self.report.machine = metronome.lateness
            with self._direct() as oracle, _Loop(self._violate) as loop:
                self._work(oracle, loop)
        for error in self.timetable.errors:
            self._violate(f"a fault failed: {error!r}")
        self.report.faults = self.timetable.counts
        self._check_holdings(before, threads)
        return self.report

    def _direct(self) -> Results:
        return by_url(self.subject.direct_url or self.subject.url, operation_timeout=RECOVERY / 4)

    def _work(self, oracle: Results, loop: _Loop) -> None:
        timeout = self.plan.operation_timeout
        clients = [by_url(self.subject.url, operation_timeout=timeout) for _ in range(2)]
        aio = aio_by_url(self.subject.url, operation_timeout=timeout)
        workers = self.plan.writers + self.plan.waiters
        with concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="chaos") as pool:
            self._began = time.monotonic()
            try:
                with self.timetable.running():
                    self._rounds(_Crew(self, clients, aio, loop, pool), oracle)
                self._verify(oracle)
            finally:
                for client in clients:
                    client.close()
                loop.run(aio.close())

    def _rounds(self, crew: _Crew, oracle: Results) -> None:
        number, due = 0, self.VERIFY_EVERY
        while not self._is_done():
            crew.round(number)
            number += 1
            if number >= due:
                with self.timetable.calm(patient=number >= due + self.LATEST) as calm:
                    if calm:
                        self._verify(oracle)
                        due = number + self.VERIFY_EVERY
            self.report.seconds = time.monotonic() - self._began
            self.report.faults = self.timetable.counts
            self.progress(self.report)

    def _is_done(self) -> bool:
        late = time.monotonic() - self._began >= self.plan.seconds
        return late or self.report.operations >= self.plan.operations

    # -- counts ---------------------------------------------------------------------------

    def count(self, operations: int = 1, **counts: int) -> None:
        with self._lock:
            self.report.operations += operations
            for name, number in counts.items():
                setattr(self.report, name, getattr(self.report, name) + number)

    def fail(self, error: BaseException) -> None:
        """Count an error of ours; report any other as a violation."""
        name = type(error).__name__
        with self._lock:
            self.report.errors[name] += 1
            self.report.messages.setdefault(name, str(error)[:300])
        if not isinstance(error, CoatcheckError):
            self._violate(f"an error that is not ours: {_origin(error)}")

    def _violate(self, text: str) -> None:
        with self._lock:
            if len(self.report.violations) < 100:
                self.report.violations.append(text)

    def timed(self, began: float) -> None:
        """Record that an operation that began at *began* ended now."""
        overrun = time.monotonic() - began - self.plan.operation_timeout
        self.report.overruns.add(overrun)
        if overrun > HANGS:
            self._violate(f"an operation hung {overrun:.1f} s over its time")

    def late(self, lateness: Lateness, seconds: float) -> None:
        lateness.add(seconds)
        if seconds > HANGS:
            self._violate(f"a wait hung {seconds:.1f} s over its deadline")

    def hangs(self, what: str) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        stacks = [
            f"{names.get(ident)}: {''.join(traceback.format_stack(frame)[-3:])}"
            for ident, frame in sys._current_frames().items()
        ]
        self._violate(f"{what} hangs:\n" + "\n".join(stacks))

    # -- checks ---------------------------------------------------------------------------

    def check(self, histories: Mapping[str, History], began: float) -> None:
        """Check the histories of a round."""
        self.count(0, ids=len(histories))
        if self.timetable.lost_since(began):
            return  # an id that the store lost is new, and may be won again
        for id_, history in histories.items():
            for fault in history.faults():
                self._violate(f"{id_}: {fault}")
            winners = [e for e in history.events if e.is_store and e.won]
            if len(winners) == 1:
                self.count(0, winners=1)
                self._acknowledged[id_] = winners[0].value, began

    def _verify(self, oracle: Results) -> None:
        """Check that the store has the records that it acknowledged, then forget them."""
        acknowledged, self._acknowledged = self._acknowledged, {}
        found = self._patiently(lambda: oracle.get_many(list(acknowledged)))
        for id_, (value, began) in acknowledged.items():
            self._confirm(found.get(id_), id_, value, began)
        self._patiently(lambda: oracle.forget_many(list(acknowledged)))
        self.report.samples.append(self._sample())

    def _confirm(self, meta: ResultMeta | None, id_: str, value: str, began: float) -> None:
        if meta is not None and meta.ready and meta.result == value:
            self.count(0, confirmed=1)
        elif self.timetable.lost_since(began) and (meta is None or not meta.ready):
            self.count(0, lost_with_the_store=1)
        else:
            known = meta is not None and meta.known
            seen = f"{meta.status} {meta.document.get('result')!r}" if meta and known else "nothing"
            self._violate(f"{id_}: {value!r} was acknowledged, the store has {seen}")

    def _patiently(self, operation: Callable[[], dict[str, ResultMeta] | int]) -> Any:
        deadline = time.monotonic() + RECOVERY
        while True:
            try:
                return operation()
            except BackendError as error:
                if time.monotonic() > deadline:
                    self._violate(f"the store did not serve again: {error}")
                    return {}
            time.sleep(0.1)

    # -- resources -------------------------------------------------------------------------

    def _holdings(self) -> dict[str, Any]:
        count = self.subject.connections
        return {**holdings(), "connections": None if count is None else count()}

    def _sample(self) -> dict[str, Any]:
        seconds = round(time.monotonic() - self._began, 1)
        return {"seconds": seconds, "operations": self.report.operations, **self._holdings()}

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
        self.report.samples = [
            {"seconds": 0, **before},
            *self.report.samples,
            {**after, "end": True},
        ]
        for name in more:
            self._violate(f"{name} were {before[name]} before, and {after[name]} afterwards")
        if "threads" in more:
            new = [thread for thread in threading.enumerate() if thread not in threads]
            self._violate("threads of its own:\n" + "\n".join(map(stack_of, new)))


class _Crew:
    """Those who work on the store."""

    def __init__(
        self,
        run: _Run,
        clients: Sequence[Results],
        aio: AioResults,
        loop: _Loop,
        pool: concurrent.futures.Executor,
    ) -> None:
        self._run = run
        self._clients = clients
        self._aio = aio
        self._loop = loop
        self._pool = pool
        # Of this run alone: an earlier one may have left something.
        self._word = f"chaos-{os.urandom(4).hex()}"

    def round(self, number: int) -> None:
        """Run all workers on a few ids, and check their histories."""
        plan, began = self._run.plan, time.monotonic()
        histories = {f"{self._word}-{number}-{n}": History() for n in range(plan.ids)}
        late_threads, late_tasks = (
            self._run.report.threads_lateness,
            self._run.report.tasks_lateness,
        )
        threads = [
            *(self._write(histories, f"w{n}", self._client(n)) for n in range(plan.writers)),
            *(self._wait(histories, self._client(n), late_threads) for n in range(plan.waiters)),
        ]
        tasks = [
            *(self._write(histories, f"c{n}", self._aio) for n in range(max(plan.writers // 3, 1))),
            *(self._wait(histories, self._aio, late_tasks) for _ in range(plan.waiters)),
        ]
        futures = [self._pool.submit(driven, work) for work in threads]
        futures += [self._loop.submit(work) for work in tasks]
        longest = plan.ids * 4 * plan.operation_timeout + HANGS
        _, late = concurrent.futures.wait(futures, longest)
        if late:
            self._run.hangs(f"round {number}")
            concurrent.futures.wait(futures)
        for future in futures:
            if (error := future.exception()) is not None:
                self._run.fail(error)
        self._run.check(histories, began)

    def _client(self, number: int) -> AioResults:
        client: AioResults = awaited(self._clients[number % len(self._clients)])
        return client

    def _order(self, histories: Mapping[str, History]) -> list[tuple[str, History]]:
        # Nearly the same order for all, so that they meet.
        items = list(histories.items())
        start = random.randrange(3)  # noqa: S311 - not a secret
        return [*items[start:], *items[:start]]

    # -- those who write ------------------------------------------------------------------

    async def _write(
        self, histories: Mapping[str, History], name: str, results: AioResults
    ) -> None:
        for id_, history in self._order(histories):
            value = f"{id_} by {name}"
            with self._step(history, "write", f"{value}, unready", ready=False) as step:
                step.won = await results.update_state(id_, "PROGRESS", f"{value}, unready")
            with self._step(history, "read") as step:
                step.seen(await results.get_task_meta(id_))
            with self._step(history, "write", value) as step:
                step.won = await results.store_result(id_, value)
            with self._step(history, "read") as step:
                step.seen(await results.get_task_meta(id_))

    @contextmanager
    def _step(
        self, history: History, kind: str, value: str = "", *, ready: bool = True
    ) -> Iterator[_Step]:
        """Time one operation, and record its outcome."""
        step, began = _Step(value, ready), time.monotonic()
        try:
            yield step
        except Exception as error:  # noqa: BLE001 - told apart there
            self._run.fail(error)
        ended = time.monotonic()
        self._run.timed(began)
        self._run.count(1)
        if kind == "write" and ready:
            self._run.count(0, refused=step.won is False, unanswered=step.won is None)
        if step.won is not None:
            history.add(Event(kind, step.value, began, ended, ready=step.ready, won=step.won))
        elif kind == "write" and ready:
            # Without an answer it may take place at any later time.
            history.add(Event(kind, value, began, math.inf, won=None))

    # -- those who wait -------------------------------------------------------------------

    def _waits(self, histories: Mapping[str, History]) -> Iterator[tuple[list[str], float]]:
        """
        Yield the ids to wait for, with a timeout: single ids, an id that nobody writes, and all.

        Some single ids are left out while nothing becomes ready.
        """
        longest = self._run.plan.longest_wait
        enough = time.monotonic() + 2 * longest
        for id_, _ in self._order(histories):
            if time.monotonic() > enough:
                break
            yield [id_], random.random() * longest  # noqa: S311 - not a secret
        nobodys = f"{next(iter(histories))}-of-nobody"
        yield [nobodys], random.random() * longest / 4  # noqa: S311
        yield list(histories), longest

    async def _wait(
        self, histories: Mapping[str, History], results: AioResults, lateness: Lateness
    ) -> None:
        for ids, timeout in self._waits(histories):
            with self._waiting(timeout, lateness) as began:
                async for meta in results.as_completed(ids, timeout=timeout):
                    self._got(histories, meta, began)

    def _got(self, histories: Mapping[str, History], meta: ResultMeta, began: float) -> None:
        event = Event("read", meta.result, began, time.monotonic(), ready=meta.ready)
        histories[meta.task_id].add(event)

    @contextmanager
    def _waiting(self, timeout: float, lateness: Lateness) -> Iterator[float]:
        began = time.monotonic()
        try:
            yield began
            self._run.count(1, waits_served=1)
        except WaitTimeoutError:
            self._run.count(1, waits_timed_out=1)
        except Exception as error:  # noqa: BLE001 - told apart there
            self._run.fail(error)
        self._run.late(lateness, time.monotonic() - began - timeout)


class _Step:
    def __init__(self, value: Any, ready: bool) -> None:  # noqa: FBT001 - as given
        self.value = value
        self.ready = ready
        self.won: bool | None = None

    def seen(self, meta: ResultMeta) -> None:
        self.value, self.ready, self.won = meta.result, meta.ready, True


class _Loop:
    """An event loop in a thread."""

    def __init__(self, violate: Callable[[str], object]) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: violate(f"the loop heard: {context}"))
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.submit(work).result(RECOVERY)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(_at_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def _at_rest() -> None:
    """Give cancelled tasks the turns they need to end; cancel the others."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, late = await asyncio.wait(others, timeout=HANGS)
        for task in late:
            task.cancel()
        if late:
            raise RuntimeError(f"tasks were left behind: {late}")


@contextmanager
def _troubles(violate: Callable[[str], object]) -> Iterator[None]:
    """Pass logged errors, dead threads and unraisable exceptions to *violate*."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            violate(f"logged: {record.getMessage()} {_origin(error) if error else ''}")

    listener, logger = Listener(logging.ERROR), logging.getLogger("coatcheck")
    hooks = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda args: violate(f"a thread ended: {_origin(args.exc_value)}")
    sys.unraisablehook = lambda args: violate(f"unraisable: {args.err_msg} {args.exc_value!r}")
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        threading.excepthook, sys.unraisablehook = hooks


def _origin(error: BaseException | None) -> str:
    if error is None:
        return "?"
    return "".join(traceback.format_exception(error))[-3000:]
