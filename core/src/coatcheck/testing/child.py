"""
Other processes, as programs: `python -m coatcheck.testing.child JOB JSON`.

Each reports that it is ready, waits for a line, does its job, and writes the answer as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO, Any

from .. import by_url
from .patience import PATIENCE
from .threads import in_threads


def store(url: str, task_id: str, value: Any) -> bool:
    """Store one value."""
    with by_url(url) as results:
        return results.store_result(task_id, value)


def read(url: str, task_id: str) -> Any:
    """Read one value; `None` if it is absent."""
    with by_url(url) as results:
        return results.get_result(task_id)


def race(url: str, task_ids: Sequence[str], number: int) -> list[str]:
    """Store *number* under each id; return the ids whose first ready record it became."""
    with by_url(url) as results:
        return [task_id for task_id in task_ids if results.store_result(task_id, number)]


def vanish(url: str, task_id: str) -> None:
    """Start a task with a heartbeat, and exit without ending it."""
    results = by_url(url)
    results.running(task_id, heartbeat=0.1).__enter__()
    os._exit(0)


def vanish_from_claim(url: str, key: str) -> None:
    """Claim the work of a key, and exit without doing it."""
    by_url(url).claim(key, heartbeat=0.1).__enter__()
    os._exit(0)


def call_once(
    url: str, key: str, callers: int, every: float, here: str
) -> tuple[list[float], list[int]]:
    """
    Call `once` in many threads; return the times at which the function ran here, and the answers. A record
    under the id *here* says that they begin.
    """
    ran: list[float] = []

    def work() -> int:
        ran.append(time.time())
        time.sleep(0.2)
        return os.getpid()

    with by_url(url, operation_timeout=60) as results:
        results.store_result(here)
        call = partial(results.once, key, work, heartbeat=every)
        return ran, sorted(set(in_threads([call] * callers)))


def aio_call_once(
    url: str, key: str, callers: int, every: float, here: str
) -> tuple[list[float], list[int]]:
    """Do the same in many tasks."""
    import asyncio  # noqa: PLC0415 - of this job alone

    from ..aio import by_url as aio_by_url  # noqa: PLC0415

    ran: list[float] = []

    async def work() -> int:
        ran.append(time.time())
        await asyncio.sleep(0.2)
        return os.getpid()

    async def run() -> list[int]:
        async with aio_by_url(url, operation_timeout=60) as results:
            await results.store_result(here)
            calls = [results.once(key, work, heartbeat=every) for _ in range(callers)]
            return sorted(set(await asyncio.gather(*calls)))

    return ran, asyncio.run(run())


def claim(url: str, key: str, every: float) -> None:
    """Claim the work of a key, and work until killed."""
    with by_url(url) as results, results.claim(key, heartbeat=every):
        time.sleep(PATIENCE)


def work(url: str, task_id: str, every: float) -> bool | None:
    """Run a task with a heartbeat until somebody else ends it; return whether it won."""
    with by_url(url) as results:
        with results.running(task_id, heartbeat=every) as task:
            # Not by a wait, which would notice the lost worker itself.
            while not results.get_task_meta(task_id).ready:
                time.sleep(every / 4)
        return task.won


def aio_work(url: str, task_id: str, every: float) -> bool | None:
    """Do the same under asyncio."""
    import asyncio  # noqa: PLC0415 - of this job alone

    from ..aio import by_url as aio_by_url  # noqa: PLC0415

    async def run() -> bool | None:
        async with aio_by_url(url) as results:
            async with results.running(task_id, heartbeat=every) as task:
                while not (await results.get_task_meta(task_id)).ready:  # noqa: ASYNC110
                    await asyncio.sleep(every / 4)
            return task.won

    return asyncio.run(run())


JOBS: dict[str, Callable[..., Any]] = {
    "store": store,
    "read": read,
    "race": race,
    "call_once": call_once,
    "aio_call_once": aio_call_once,
    "claim": claim,
    "vanish": vanish,
    "vanish_from_claim": vanish_from_claim,
    "work": work,
    "aio_work": aio_work,
}


class Child:
    """A process that waits for its start."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin: IO[str] = process.stdin
        self._stdout: IO[str] = process.stdout

    def until_ready(self) -> None:
        if self._stdout.readline() != "ready\n":
            raise RuntimeError(f"the child process ended with {self.process.wait()}")

    def go(self) -> None:
        self._stdin.write("go\n")
        self._stdin.flush()

    def answer(self) -> Any:
        """Return the answer of the job, or `None` if the process ended first."""
        line = self._stdout.readline()
        return json.loads(line) if line else None


@contextmanager
def children(jobs: Sequence[tuple[str, Sequence[Any]]]) -> Iterator[list[Child]]:
    """Start a process for each job; each waits for `go`. All are killed at the end."""
    # They find the plugins of this process, too.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", __name__]
    started = []
    try:
        for job, arguments in jobs:
            line = [*command, job, json.dumps(arguments)]
            started.append(Child(subprocess.Popen(line, env=environment, **pipes)))
        for child in started:
            child.until_ready()
        yield started
    finally:
        for child in started:
            child.process.kill()
            child.process.communicate()


def note_keys(url: str) -> None:
    """Have the keys noted that this process uses, where `coatcheck certify` started the contract."""
    if "COATCHECK_TESTING_PLACE" in os.environ:
        from ..aio import by_url as aio_by_url  # noqa: PLC0415
        from .place import Place  # noqa: PLC0415 - needs pytest

        place = Place.of_environment()
        assert place is not None
        for client in (by_url(url), aio_by_url(url)):
            place.follow(client)


def main() -> None:
    job, arguments = JOBS[sys.argv[1]], json.loads(sys.argv[2])
    note_keys(arguments[0])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(json.dumps(job(*arguments)) + "\n")


if __name__ == "__main__":
    main()
