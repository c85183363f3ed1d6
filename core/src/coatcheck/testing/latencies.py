"""
How long a store takes: to store, to fetch, and to wake a waiter.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from statistics import quantiles
from typing import Any, Final

from .. import by_url
from .._results.results import Results
from .patience import PATIENCE
from .threads import Started

#: How often each is measured.
TIMES: Final = 200
WAITS: Final = 50
#: How long a wait has been going on when its record is stored, in seconds.
_SETTLED: Final = 0.02


def measure(url: str) -> dict[str, dict[str, float]]:
    """
    Return the median and the 99th percentile of each latency, in milliseconds.

    `wake-up` is the time from the beginning of a store to the end of another client's wait.
    """
    with by_url(url) as results, by_url(url) as other:
        ids = [str(uuid.uuid4()) for _ in range(TIMES)]
        other.store_result(ids[0], 1)  # connects
        taken = {
            "store": [_timed(results.store_result, id_, 1) for id_ in ids],
            "fetch": [_timed(results.get_result, id_) for id_ in ids],
            "wake-up": [_woken(results, other, f"wait-{n}") for n in range(WAITS)],
        }
    return {name: _summary(times) for name, times in taken.items()}


def _timed(function: Callable[..., object], *args: Any) -> float:
    began = time.perf_counter()
    function(*args)
    return time.perf_counter() - began


def _woken(results: Results, other: Results, task_id: str) -> float:
    def wait() -> float:
        other.wait_for(task_id, PATIENCE)
        return time.perf_counter()

    waiting = Started(wait)
    time.sleep(_SETTLED)
    began = time.perf_counter()
    results.store_result(task_id, 1)
    ended: float = waiting.answer()
    return ended - began


def _summary(times: list[float]) -> dict[str, float]:
    parts = quantiles(times, n=100, method="inclusive")
    return {"p50": round(parts[49] * 1000, 3), "p99": round(parts[98] * 1000, 3)}
