"""
How late waits and the machine are, and the resources of a process.
"""

from __future__ import annotations

import bisect
import gc
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final, Self

#: The upper bounds of the classes that durations are counted in, in seconds: 5 % apart.
_BOUNDS: Final = tuple(0.0001 * 1.05**n for n in range(260))


class Lateness:
    """Durations, any number of them, in a bounded number of classes. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * (len(_BOUNDS) + 1)
        self.worst: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one; a negative one counts as zero."""
        with self._lock:
            self._counts[bisect.bisect_left(_BOUNDS, seconds)] += 1
            self.worst = max(self.worst, seconds)

    @property
    def count(self) -> int:
        return sum(self._counts)

    def over(self, seconds: float) -> int:
        """Return the number of those longer than *seconds*, to within a class."""
        return sum(self._counts[bisect.bisect_left(_BOUNDS, seconds) + 1 :])

    def quantile(self, part: float) -> float:
        """Return the quantile *part* in seconds; 0 if nothing was counted."""
        left = self.count * part
        for bound, count in zip(_BOUNDS, self._counts, strict=False):
            left -= count
            if left <= 0:
                return min(bound, self.worst)
        return self.worst

    def told(self) -> dict[str, float]:
        """Return the figures of a report, in milliseconds."""
        return {
            "count": self.count,
            "p50_ms": round(self.quantile(0.5) * 1000, 1),
            "p99_ms": round(self.quantile(0.99) * 1000, 1),
            "max_ms": round(self.worst * 1000, 1),
            "over_50_ms": self.over(0.05),
        }


class Metronome:
    """Measures how late a thread wakes that only sleeps."""

    TICK = 0.02

    def __init__(self) -> None:
        self.lateness: Lateness = Lateness()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metronome", daemon=True)

    def _run(self) -> None:
        while True:
            due = time.monotonic() + self.TICK
            if self._over.wait(self.TICK):
                return
            self.lateness.add(time.monotonic() - due)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def holdings() -> dict[str, Any]:
    """
    Return the memory in MB, file descriptors and threads of this process, as far as the system
    says.
    """
    gc.collect()
    memory = descriptors = None
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory = round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
        descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of open ones, itself too
    return {"memory_mb": memory, "descriptors": descriptors, "threads": threading.active_count()}
