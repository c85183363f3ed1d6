"""
What is left after waits: nothing.
"""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Final

import pytest

from ... import WaitTimeoutError, testing
from ..._results.results import Results
from ..promises import needs, promise
from ..threads import Not, in_threads, until
from .case import Case

#: The thread that looks for all waits, by its name.
HUB: Final = "coatcheck-hub"
#: How many objects, or threads, may be there that were not: a pool may have grown.
FEW: Final = 10


def objects() -> Counter[str]:
    """
    Count our objects, by their type.
    """
    gc.collect()
    names = (f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())
    ours = (name for name in names if name.startswith("coatcheck"))
    return Counter(name for name in ours if not name.startswith(testing.__name__))


def no_thread_of_a_wait() -> bool | Not:
    """
    Whether the thread that looks for all waits has ended.
    """
    names = [thread.name for thread in threading.enumerate() if thread.name == HUB]
    return Not(f"there is still the thread {HUB}, {len(names)} times") if names else True


def few_new_threads(before: Collection[threading.Thread]) -> bool | Not:
    """
    Whether hardly any thread is there that was not *before*; a backend may have some of its own.
    """
    new = [thread.name for thread in threading.enumerate() if thread not in before]
    return Not(f"{len(new)} threads more than before: {sorted(new)}") if len(new) > FEW else True


def a_thousand_waits(results: Results) -> None:
    """
    Wait: for what is there, for what never comes, and for what is broken off.
    """
    stored = [f"stored{n}" for n in range(500)]
    results.store_many(dict.fromkeys(stored, 1))
    for id_ in stored[:200]:
        results.wait_for(id_, 5)
    for n in range(100):
        with suppress(WaitTimeoutError):
            results.wait_for(f"never{n}", 0)
    with suppress(WaitTimeoutError):
        list(results.as_completed([f"late{n}" for n in range(200)], timeout=0.05))
    for _ in results.as_completed([*stored[200:], *(f"off{n}" for n in range(170))]):
        break
    in_threads(partial(broken_off, results, f"interrupted{n}") for n in range(30))


def broken_off(results: Results, task_id: str) -> None:
    """
    Break off a wait from within.
    """

    def interrupt() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        results.wait_for(task_id, None, 0.01, interrupt)


class Resources(Case):
    """
    Promises 2 and 9: nothing outlives a wait.
    """

    @promise(2, 9)
    def test_no_object_is_left(self, results: Results) -> None:
        """
        After a thousand waits there are as many of our objects and threads as before.
        """
        results.store_result("t", 1)
        results.get_result("t")
        before, threads = objects(), threading.enumerate()
        a_thousand_waits(results)
        until(no_thread_of_a_wait)
        until(lambda: few_new_threads(threads))

        left = objects() - before
        assert {} == {kind: count for kind, count in left.items() if count > FEW}

    @promise(2, 9)
    @needs("open_resources")
    def test_nothing_is_left_open(self, results: Results) -> None:
        """
        After a thousand waits the store sees no more of us than before, but for a pool.
        """
        # As many at the same time as there will be, so that a pool has grown by then.
        in_threads(partial(results.store_result, "t", 1) for _ in range(30))
        before = self.open_resources()
        a_thousand_waits(results)

        until(no_thread_of_a_wait)
        assert until(self._at_most(before))

    @promise(2, 9)
    @needs("open_resources")
    def test_subscriptions_end(self, results: Results) -> None:
        """
        What `watch` opens is given up at its end, and what `add` opens as well.
        """
        results.exists("t")
        before = self.open_resources()
        for n in range(20):
            with results.backend.watch([f"t{n}"]) as bell:
                bell.add([f"u{n}", f"v{n}"])
        with pytest.raises(ZeroDivisionError), results.backend.watch(["t"]) as bell:
            raise ZeroDivisionError

        assert until(self._at_most(before))

    @promise(9)
    @needs("open_resources")
    def test_close_gives_up_all(self) -> None:
        """
        A closed client holds nothing of the store, though its user goes on holding it.
        """
        before = self.open_resources()
        results = self.sync_results()
        results.store_result("t", 1)
        results.wait_for("t", 5)
        with suppress(WaitTimeoutError):
            results.wait_for("never", 0.05)
        results.close()

        assert until(self._at_most(before))
        assert results.exists("t")
        results.close()

    def _at_most(self, count: int) -> Callable[[], bool | Not]:
        def settled() -> bool | Not:
            now = self.open_resources()
            return now <= count or Not(f"the store sees {now} open, and had {count} before")

        return settled

    @promise(9)
    @needs("open_resources")
    @pytest.mark.filterwarnings("ignore::ResourceWarning")  # nobody has closed them
    def test_what_is_dropped_ends(self) -> None:
        """
        Clients that are dropped without being closed leave nothing open.
        """
        before = self.open_resources()
        for n in range(10):
            results = self.sync_results()
            results.store_result(f"t{n}", n)
            assert n == results.get_result(f"t{n}")
        del results
        gc.collect()

        assert until(self._at_most(before))
