"""
Wake-ups on stores that tell nobody what is written, so that waits look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import contenders
import harness
from harness import Row

import coatcheck

#: Results come within so many seconds, or after so many.
SOON = 0.03
LATE = (0.2, 1.0, 3.0)


def wake_rows(url: str, *, wakes: int, late_wakes: int, label: str = "") -> Iterator[Row]:
    """
    Return rows on the time from the store to the return of the wait.
    """
    with coatcheck.by_url(url) as waiting, coatcheck.by_url(url) as storing:

        def woken(task_id: str, after: float) -> float:
            stored = []

            def store() -> None:
                storing.store_result(task_id, contenders.VALUE)
                stored.append(time.monotonic())

            timer = threading.Timer(after, store)
            timer.start()
            waiting.wait_for(task_id, contenders.PATIENCE)
            end = time.monotonic()
            timer.join()
            return max(end - stored[0], 0.0)

        # Evenly spread, so that they do not keep step with the looks.
        moments = [0.001 + (SOON - 0.001) * n / wakes for n in range(wakes)]
        late = [woken(f"early-{n}", after) for n, after in enumerate(moments)]
        for percent, target in ((50, 3.0), (99, None)):
            value = 1e3 * harness.percentile(late, percent)
            name = f"{label}wake-up p{percent}, result within {1e3 * SOON:g} ms"
            yield Row(name, "ms", value, target=target)
        for after in LATE:
            waits = [after * (1 + n / (4 * late_wakes)) for n in range(late_wakes)]
            shares = [100 * woken(f"late-{after}-{n}", wait) / wait for n, wait in enumerate(waits)]
            for percent, target in ((50, 10), (99, 15)):
                value = harness.percentile(shares, percent)
                name = f"{label}wake-up p{percent}, result after {after} s"
                yield Row(name, "%", value, target=target)
