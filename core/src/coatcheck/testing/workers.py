"""
The threads and coroutines of a chaos run: they write and wait, and record the outcome.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import os
import random
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from .._results.results import Results
from ..aio import Results as AioResults
from ..errors import WaitTimeoutError
from .awaited import awaited, driven
from .history import Event, History
from .lateness import Lateness
from .outcome import HANGS, Report
from .stacks import all_stacks

T = TypeVar("T")

#: How long closing may take in the loop, in seconds.
_ENDS: Final = 60.0


@dataclass(frozen=True)
class Plan:
    """
    How long to work, and how hard.

    Args:
        operations: end after this number.
        seconds: or after this time.
        writers: racing threads; a third as many coroutines, at least one, join them.
        waiters: waiting threads, and as many coroutines.
        ids: the number of ids in a round.
        operation_timeout: of the clients.
        longest_wait: the upper bound of the timeouts of waits.
        pause: between two faults, at least and at most.
    """

    operations: float = math.inf
    seconds: float = math.inf
    writers: int = 3
    waiters: int = 3
    ids: int = 24
    operation_timeout: float = 1.0
    longest_wait: float = 1.0
    pause: tuple[float, float] = (0.2, 1.0)
    seed: int | None = None


class Watched(History):
    """A history whose operations *report* counts, with their errors."""

    def __init__(self, report: Report, operation_timeout: float) -> None:
        super().__init__()
        self._report = report
        self._timeout = operation_timeout

    async def _answer(self, operation: Coroutine[Any, Any, T]) -> T | None:
        deadline, answer = time.monotonic() + self._timeout, None
        try:
            answer = await operation
        except Exception as error:  # noqa: BLE001 - told apart there
            self._report.fail(error)
        self._report.late(self._report.overruns, deadline, "an operation")
        self._report.count()
        return answer


class Workers:
    """Those who work on the store."""

    def __init__(
        self,
        plan: Plan,
        report: Report,
        clients: Sequence[Results],
        aio: AioResults,
        loop: LoopThread,
    ) -> None:
        self._plan = plan
        self._report = report
        self._clients: list[AioResults] = [awaited(client) for client in clients]
        self._aio = aio
        self._loop = loop
        # Of this run alone: an earlier one may have left something.
        self._word = f"chaos-{os.urandom(4).hex()}"

    def round(self, number: int, pool: concurrent.futures.Executor) -> Mapping[str, History]:
        """Run all workers on a few ids, and return their histories."""
        plan, report = self._plan, self._report
        ids = [f"{self._word}-{number}-{n}" for n in range(plan.ids)]
        histories = {id_: Watched(report, plan.operation_timeout) for id_ in ids}
        clients = [self._clients[n % len(self._clients)] for n in range(plan.writers)]
        threads = [self._write(histories, f"w{n}", client) for n, client in enumerate(clients)]
        waiters = [self._clients[n % len(self._clients)] for n in range(plan.waiters)]
        threads += [self._wait(histories, client, report.threads_lateness) for client in waiters]
        writers = range(max(plan.writers // 3, 1))
        tasks = [self._write(histories, f"c{n}", self._aio) for n in writers]
        tasks += [self._wait(histories, self._aio, report.tasks_lateness) for _ in waiters]
        futures = [pool.submit(driven, work) for work in threads]
        futures += [self._loop.submit(work) for work in tasks]
        _, late = concurrent.futures.wait(futures, plan.ids * 4 * plan.operation_timeout + HANGS)
        if late:
            report.violate(f"round {number} hangs:\n{all_stacks()}")
            concurrent.futures.wait(futures)
        for future in futures:
            if (error := future.exception()) is not None:
                report.fail(error)
        return histories

    def _order(self, histories: Mapping[str, History]) -> list[tuple[str, History]]:
        # Nearly the same order for all, so that they meet.
        items = list(histories.items())
        start = random.randrange(3)  # noqa: S311 - not a secret
        return [*items[start:], *items[:start]]

    async def _write(self, histories: Mapping[str, History], name: str, client: AioResults) -> None:
        for id_, history in self._order(histories):
            await history.take_part(client, id_, f"{id_} by {name}")

    async def _wait(
        self, histories: Mapping[str, History], client: AioResults, lateness: Lateness
    ) -> None:
        for ids, timeout in self._waits(histories):
            began = time.monotonic()
            try:
                async for meta in client.as_completed(ids, timeout=timeout):
                    event = Event("read", meta.result, began, time.monotonic(), ready=meta.ready)
                    histories[meta.task_id].add(event)
                self._report.count(waits_served=1)
            except WaitTimeoutError:
                self._report.count(waits_timed_out=1)
            except Exception as error:  # noqa: BLE001 - told apart there
                self._report.fail(error)
            self._report.late(lateness, began + timeout, "a wait")

    def _waits(self, histories: Mapping[str, History]) -> Iterator[tuple[list[str], float]]:
        """
        Yield the ids to wait for, with a timeout: single ids, an id that nobody writes, and all.

        Some single ids are left out while nothing becomes ready.
        """
        longest = self._plan.longest_wait
        enough = time.monotonic() + 2 * longest
        for id_, _ in self._order(histories):
            if time.monotonic() > enough:
                break
            yield [id_], random.random() * longest  # noqa: S311 - not a secret
        nobodys = f"{next(iter(histories))}-of-nobody"
        yield [nobodys], random.random() * longest / 4  # noqa: S311
        yield list(histories), longest


class LoopThread:
    """An event loop in a thread; errors that it reports are violations."""

    def __init__(self, report: Report) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(
            lambda _, context: report.violate(f"the loop heard: {context}")
        )
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.submit(work).result(_ENDS)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(_at_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def _at_rest() -> None:
    """Give cancelled tasks the turns they need to end; cancel the others."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, late = await asyncio.wait(others, timeout=HANGS)
        for task in late:
            task.cancel()
        if late:
            raise RuntimeError(f"tasks were left behind: {late}")
