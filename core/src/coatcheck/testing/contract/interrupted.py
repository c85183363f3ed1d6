"""
Operations and waits that a signal handler ends, at any place.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

import pytest

from ... import Capability, TaskRevokedError, UnsupportedError
from ..._results.results import Results
from ..interrupts import Abort, Limit, places, roots_of, strikes
from ..losses import lossy
from ..promises import promise
from ..proof import PATIENCE, at_length, has, innermost
from ..threads import Started, in_threads
from .case import SyncCase

#: At how many places an operation is interrupted, where not at all of them.
SOME = 25
#: As many threads as want a connection at the same time at the end.
THREADS = 24
KINDS: tuple[type[BaseException], ...] = (Limit, TimeoutError, Abort)


class Interruptions:
    """A client whose calls are interrupted, and the checks after each interruption."""

    def __init__(self, results: Results, *, each: bool) -> None:
        self.results = results
        self._each = each
        self._numbers = count()
        self._roots = roots_of(sys.modules[type(innermost(results.backend)).__module__])
        results.store_many({"one": 1, "two": 2})

    def fresh(self) -> str:
        """Return a new id."""
        return f"fresh-{next(self._numbers)}"

    def interrupt(self, act: Callable[[], object]) -> None:
        """
        Interrupt *act*, and check after each time that the client works, in another thread, too.
        """
        act()
        step = 1 if self._each else max(places(act, roots=self._roots) // SOME, 1)
        for first, kind in enumerate(KINDS):
            # Every third place by each kind, so that together they strike all, or some of all.
            for place in strikes(
                act, kind, roots=self._roots, first=first * step, step=step * len(KINDS)
            ):
                try:
                    Started(self._works).answer()
                except Exception as error:
                    raise AssertionError(f"broken after {kind.__name__} at {place}") from error

    def _works(self) -> None:
        task_id = self.fresh()
        assert self.results.store_result(task_id, task_id) is True
        found = self.results.get_many(["one", task_id, "two"])
        assert [1, task_id, 2] == [meta.result for meta in found.values()]
        # Otherwise a scan would have more records, and so more places, after each interruption.
        self.results.forget(task_id)

    def lost_nothing(self) -> bool:
        """Whether many threads can still work at the same time."""
        won = in_threads(
            partial(self.results.store_result, self.fresh(), 1) for _ in range(THREADS)
        )
        return all(won) and self.results.wait_for("one", PATIENCE).result == 1


Acts = Callable[[Interruptions], Iterator[Callable[[], object]]]


def operations(calls: Interruptions) -> Iterator[Callable[[], object]]:
    """Yield the operations of a store."""
    results = calls.results

    def closed() -> None:
        results.close()
        results.get_result("one")

    if has(results, Capability.SCAN):  # first, because the other operations leave many records
        yield lambda: list(results.backend.scan("one"))
    yield lambda: results.store_result(calls.fresh(), [1, "two"])
    yield lambda: results.get_result("one")
    yield lambda: results.get_many(["one", "two", "none"])
    yield lambda: results.store_many({calls.fresh(): n for n in range(3)})
    yield lambda: results.expect(calls.fresh())
    yield lambda: results.forget("none")
    yield closed


def waits(calls: Interruptions) -> Iterator[Callable[[], object]]:
    """Yield waits for present and for future records."""
    results = calls.results

    def woken() -> None:
        task_id = calls.fresh()
        storing = threading.Timer(0.01, results.store_result, (task_id, 1))
        try:
            storing.start()
            results.wait_for(task_id, PATIENCE)
        finally:
            if storing.ident is not None:
                storing.join()

    yield lambda: results.wait_for("one", PATIENCE)
    yield lambda: list(results.as_completed(["one", "two"], timeout=PATIENCE))
    yield woken


def running(calls: Interruptions) -> Iterator[Callable[[], object]]:
    """Yield blocks that run as tasks."""

    def run(heartbeat: float | None) -> None:
        with calls.results.running(calls.fresh(), heartbeat=heartbeat) as task:
            task.progress(1, 2)

    yield partial(run, None)
    yield partial(run, 60)


class Interrupted(SyncCase):
    """Promise 9: the exception of a signal handler passes through unchanged, and harms nothing."""

    @promise(9, 2)
    @lossy
    @pytest.mark.parametrize("what", [operations, waits, running])
    def test_interrupted(self, sync: Results, what: Acts) -> None:
        """
        A signal handler's exception, of any class, passes through every operation, wait and task
        unchanged; the client goes on working in all threads.
        """
        self._interrupt(sync, what)

    @promise(9, 2)
    @lossy
    @at_length
    @pytest.mark.parametrize("what", [operations, waits, running])
    def test_interrupted_everywhere(self, sync: Results, what: Acts) -> None:
        """The same holds at every place where a signal handler can run."""
        self._interrupt(sync, what, each=True)

    @promise(9, 2)
    @at_length
    def test_storm_of_signals(self) -> None:
        """A process goes on working after hundreds of alarms within operations and waits."""
        module = "coatcheck.testing.storm"
        done = subprocess.run(
            [sys.executable, "-m", module, self.store_url, "300"],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "COATCHECK_TESTING_PATIENCE": str(PATIENCE)},
            timeout=20 * PATIENCE,
        )

        assert 0 == done.returncode, done.stderr

    @promise(4)
    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_running_is_broken_off(self, sync: Results, error: type[BaseException]) -> None:
        """An interrupted block is REVOKED, and the interruption goes on."""
        with pytest.raises(error), sync.running("t"):
            raise error

        with pytest.raises(TaskRevokedError, match=error.__name__):
            sync.AsyncResult("t").get(timeout=PATIENCE)

    def _interrupt(self, results: Results, what: Acts, *, each: bool = False) -> None:
        calls = Interruptions(results, each=each)
        for act in what(calls):
            try:
                calls.interrupt(act)
            except UnsupportedError:
                continue
        assert calls.lost_nothing()
