"""
A storm of signals: ``python -m coatcheck.testing.storm URL STRIKES``.

That number of alarms strike within operations and waits. The exit status is 0 if only their
exceptions came out, and the client works at the end.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from types import FrameType

from .. import by_url
from .._results.results import Results
from .child import note_keys
from .interrupts import Abort, Limit
from .proof import PATIENCE
from .threads import Started, in_threads

_KINDS = (Limit, Abort, TimeoutError)
#: The longest time before an alarm, in seconds.
_LONGEST = 0.003
_THREADS = 70


class Alarms:
    """Raises after a random time, once for each call."""

    def __init__(self) -> None:
        self.struck: int = 0
        self._is_armed = False
        self._raised: BaseException | None = None
        signal.signal(signal.SIGALRM, self._strike)

    def _strike(self, _signum: int, _frame: FrameType | None) -> None:
        if self._is_armed:
            self._is_armed = False
            self._raised = random.choice(_KINDS)("an alarm")  # noqa: S311 - not a secret
            raise self._raised

    def during(self, act: Callable[[], object]) -> None:
        """Call *act*, interrupted or not. Raise any error but the alarm's."""
        try:
            self._is_armed = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, _LONGEST))  # noqa: S311
            act()
            self._is_armed = False
        except BaseException as error:
            if error is not self._raised:
                raise
            self.struck += 1
        finally:
            self._is_armed = False


def _run(results: Results, task_id: str) -> None:
    with results.running(task_id, heartbeat=60) as task:
        task.progress(1, 2)


def _acts(results: Results, task_id: str) -> list[Callable[[], object]]:
    return [
        lambda: results.store_result(task_id, {"rows": [{"a": n} for n in range(50)]}),
        lambda: results.get_result("one"),
        lambda: results.get_many(["one", "two", "none"]),
        lambda: results.store_many({f"{task_id}-{n}": n for n in range(3)}),
        lambda: results.forget("none"),
        lambda: results.wait_for("one", PATIENCE),
        partial(_run, results, f"{task_id}-run"),
    ]


def _works(results: Results, task_id: str) -> None:
    assert results.store_result(task_id, task_id)
    found = results.get_many(["one", task_id, "two"])
    assert [1, task_id, 2] == [meta.result for meta in found.values()]
    assert results.wait_for("one", PATIENCE).result == 1


def main(url: str, strikes: int) -> None:
    """Strike *strikes* times, and check that the client of *url* works."""
    faulthandler.dump_traceback_later(10 * PATIENCE, exit=True)
    note_keys(url)
    results = by_url(url)
    results.store_many({"one": 1, "two": 2})
    alarms, run = Alarms(), os.urandom(4).hex()
    for number in count():
        if alarms.struck >= strikes:
            break
        alarms.during(random.choice(_acts(results, f"{run}-storm-{number}")))  # noqa: S311
        if number % 20 == 0:
            Started(_works, results, f"{run}-works-{number}").answer()
    in_threads(partial(_works, results, f"{run}-end-{number}") for number in range(_THREADS))
    results.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
