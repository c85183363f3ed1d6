"""
The process that waits, for benches: for many ids, in one of several ways.

Waits at once; says when it returned from the last wait, by the clock that all processes share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time

TIMEOUT = 300.0


def as_completed(url: str, ids: list[str]) -> tuple[float, int]:
    import coatcheck

    with coatcheck.by_url(url) as results:
        found = sum(meta.successful for meta in results.as_completed(ids, timeout=TIMEOUT))
        return time.monotonic(), found


def threads(url: str, ids: list[str]) -> tuple[float, int]:
    import coatcheck

    done: list[str] = []
    with coatcheck.by_url(url) as results:

        def wait(task_id: str) -> None:
            done.append(results.wait_for(task_id, timeout=TIMEOUT).task_id)

        started = [threading.Thread(target=wait, args=[task_id]) for task_id in ids]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
        return time.monotonic(), len(set(done))


async def _gather(url: str, ids: list[str]) -> tuple[float, int]:
    import coatcheck.aio

    async with coatcheck.aio.by_url(url) as results:
        metas = await asyncio.gather(*[results.wait_for(id_, timeout=TIMEOUT) for id_ in ids])
        return time.monotonic(), sum(meta.successful for meta in metas)


def gather(url: str, ids: list[str]) -> tuple[float, int]:
    return asyncio.run(_gather(url, ids))


def main() -> None:
    url, way, prefix, count = sys.argv[1:]
    ids = [f"{prefix}-{number}" for number in range(int(count))]
    end, found = {"as_completed": as_completed, "threads": threads, "gather": gather}[way](url, ids)
    print(json.dumps({"end": end, "found": found}), flush=True)
    sys.stdin.readline()  # it is looked at before it ends


if __name__ == "__main__":
    main()
