"""
A client like a web service: one asyncio process that awaits the results that workers store in Redis.

Starts the workers, hands out 10,000 tasks, awaits every one of them with a coroutine of its own,
checks the numbers, and sees to it that a worker which is killed in the middle does not hang it.

    COATCHECK_URL=redis://localhost:6379/0 python client.py
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from worker import work

import coatcheck
from coatcheck import aio

LOST = "task-of-the-lost-worker"


async def start_worker() -> asyncio.subprocess.Process:
    """
    Start a worker process that reads tasks from a pipe.
    """
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("worker.py")),
        stdin=asyncio.subprocess.PIPE,
    )


async def hand_out(worker: asyncio.subprocess.Process, lines: list[str]) -> None:
    """
    Write tasks to a worker; one that is dead takes none.
    """
    assert worker.stdin is not None
    try:
        for start in range(0, len(lines), 500):
            worker.stdin.write("".join(lines[start : start + 500]).encode())
            await worker.stdin.drain()
        worker.stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        return


async def fetch(results: aio.Results, task_id: str) -> dict[str, object]:
    """
    Await one result, as the handler of a request does.
    """
    handle: aio.AsyncResult[dict[str, object]] = results.AsyncResult(task_id)
    return await handle.get(timeout=120)


async def run(tasks: int, workers: int) -> None:
    """
    Hand out, await, check.
    """
    ids = [f"task-{number}" for number in range(tasks)]
    async with aio.by_url(expires=600) as results:
        for task_id in (*ids, LOST):  # so that the example can be run again
            await results.forget(task_id)
        start = time.perf_counter()
        waits = [asyncio.create_task(fetch(results, task_id)) for task_id in ids]
        lost = asyncio.create_task(fetch(results, LOST))

        processes = [await start_worker() for _ in range(workers + 1)]
        shares = [
            [f"{ids[number]} {number}\n" for number in range(first, tasks, workers)]
            for first in range(workers)
        ]
        await asyncio.gather(
            *(hand_out(p, share) for p, share in zip(processes[1:], shares, strict=True)),
            hand_out(processes[0], [f"die {LOST}\n"]),
        )
        values = await asyncio.gather(*waits)
        took = time.perf_counter() - start

        for number, value in enumerate(values):
            assert value["number"] == number, value
        for number in range(0, tasks, max(1, tasks // 100)):
            assert values[number]["digest"] == work(number)
        served = len({value["by"] for value in values})
        print(f"{tasks} results of {served} workers in {took:.1f} s, all numbers right")

        try:
            await lost
        except coatcheck.WorkerLostError as error:
            print(f"the killed worker's task ended as well: {error}")
        for process in processes:
            await process.wait()


def main() -> None:
    """
    Read the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.tasks, arguments.workers))


if __name__ == "__main__":
    main()
