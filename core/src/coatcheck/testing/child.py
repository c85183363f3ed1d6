"""
Other processes, as programs: `python -m coatcheck.testing.child JOB JSON`.

Each says that it is ready, waits for a line, does its job, and writes the answer as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from .. import by_url


def store(url: str, task_id: str, value: Any) -> bool:
    """
    Store one value.
    """
    with by_url(url) as results:
        return results.store_result(task_id, value)


def read(url: str, task_id: str) -> Any:
    """
    Read one value; `None` where there is none.
    """
    with by_url(url) as results:
        return results.get_result(task_id)


def race(url: str, task_ids: Sequence[str], number: int) -> list[str]:
    """
    Store *number* under each id, and return those for which this was the first ready record.
    """
    with by_url(url) as results:
        return [task_id for task_id in task_ids if results.store_result(task_id, number)]


def vanish(url: str, task_id: str) -> None:
    """
    Start a task with a heartbeat, and be gone.
    """
    results = by_url(url)
    results.running(task_id, heartbeat=0.1).__enter__()
    os._exit(0)


def work(url: str, task_id: str, every: float) -> bool | None:
    """
    Run a task with a heartbeat until somebody else ended it, and return whether it won.
    """
    with by_url(url) as results:
        with results.running(task_id, heartbeat=every) as task:
            # Not by a wait, which would itself notice what is to be noticed elsewhere.
            while not results.get_task_meta(task_id).ready:
                time.sleep(every / 4)
        return task.won


def aio_work(url: str, task_id: str, every: float) -> bool | None:
    """
    The same under asyncio.
    """
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
    "vanish": vanish,
    "work": work,
    "aio_work": aio_work,
}


class Child:
    """
    A process that waits for its start.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin: IO[str] = process.stdin
        self._stdout: IO[str] = process.stdout

    def until_ready(self) -> None:
        """
        Wait until all is imported.
        """
        if self._stdout.readline() != "ready\n":
            raise RuntimeError(f"the child process ended with {self.process.wait()}")

    def go(self) -> None:
        """
        Start the job.
        """
        self._stdin.write("go\n")
        self._stdin.flush()

    def answer(self) -> Any:
        """
        Return what the job returned; `None` where it did not come to an end.
        """
        line = self._stdout.readline()
        return json.loads(line) if line else None


@contextmanager
def children(jobs: Sequence[tuple[str, Sequence[Any]]]) -> Iterator[list[Child]]:
    """
    Start a process for each job, which wait for `go`; in the end none is left.
    """
    # What is on this process's path is on theirs, plugins included.
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


def main() -> None:
    """
    Do one job.
    """
    job, arguments = JOBS[sys.argv[1]], json.loads(sys.argv[2])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(json.dumps(job(*arguments)) + "\n")


if __name__ == "__main__":
    main()
