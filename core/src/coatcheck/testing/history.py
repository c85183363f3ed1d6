"""
Checks the observations of racing writers and readers against the first-ready rule.

Each operation is recorded with the moments before and after it. The record of one id becomes ready
at one moment, which lies within the winning operation. An operation that saw the record unready
began before that moment. One that saw it ready, or was refused, ended after it. A history is allowed
if such a moment exists.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from ..aio import Results
from ..errors import BackendError

T = TypeVar("T")


@dataclass(frozen=True)
class Event:
    """
    One operation on the id.

    `value` was written or read, and `ready` is whether its record was ready. `won` is the answer to a
    write; `None` if no answer came, so that it may have happened or not.
    """

    kind: str
    value: Any
    began: float
    ended: float
    ready: bool = True
    won: bool | None = True

    @property
    def is_store(self) -> bool:
        return self.kind == "write" and self.ready


class History:
    """
    The operations on one id, from its first write to its first expiry or `forget`.

    All values must differ, so that a value read identifies its writer.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.events: list[Event] = []

    def add(self, event: Event) -> None:
        """Record one event. For any thread."""
        with self._lock:
            self.events.append(event)

    async def store(self, results: Results, task_id: str, value: Any) -> None:
        """Store *value* as ready, and record the outcome."""
        began = self._clock()
        won = await self._answer(results.store_result(task_id, value))
        # Without an answer it may take place at any later time.
        ended = math.inf if won is None else self._clock()
        self.add(Event("write", value, began, ended, won=won))

    async def update(self, results: Results, task_id: str, value: Any) -> None:
        """Store *value* as unready, and record the outcome."""
        began = self._clock()
        won = await self._answer(results.update_state(task_id, "PROGRESS", value))
        if won is not None:  # without an answer it says nothing of the order
            self.add(Event("write", value, began, self._clock(), ready=False, won=won))

    async def read(self, results: Results, task_id: str) -> None:
        """Read, and record the observation."""
        began = self._clock()
        meta = await self._answer(results.get_task_meta(task_id))
        if meta is not None:
            self.add(Event("read", meta.result, began, self._clock(), ready=meta.ready))

    async def _answer(self, operation: Coroutine[Any, Any, T]) -> T | None:
        try:
            return await operation
        except BackendError:
            return None

    async def take_part(self, results: Results, task_id: str, value: Any) -> None:
        """Update, read, store, and read again: one participant of a race."""
        await self.update(results, task_id, ["unready", value])
        await self.read(results, task_id)
        await self.store(results, task_id, value)
        await self.read(results, task_id)

    # -- the check ------------------------------------------------------------------------

    @property
    def winner(self) -> Any:
        """The value of the one ready write that won. Raises `LookupError` without exactly one."""
        winners = [event.value for event in self.events if event.is_store and event.won]
        if len(winners) != 1:
            raise LookupError(f"{len(winners)} writes were told that they won: {winners}")
        return winners[0]

    def faults(self) -> list[str]:
        """Return the contradictions in the history; empty if it is allowed."""
        winners = [event for event in self.events if event.is_store and event.won]
        if len(winners) > 1:
            return [f"several won: {[event.value for event in winners]}"]
        seen = self._values_read()
        if len(seen) > 1:
            return [f"the ready record changed: {seen}"]
        candidates = winners or [e for e in self.events if e.is_store and e.won is None]
        if seen:
            candidates = [event for event in candidates if event.value == seen[0]]
        if not candidates:
            return self._faults_without_winner(seen)
        faults = [self._faults_if_won(candidate) for candidate in candidates]
        return min(faults, key=len)

    def _values_read(self) -> list[Any]:
        values: list[Any] = []
        for event in self.events:
            if event.kind == "read" and event.ready and event.value not in values:
                values.append(event.value)
        return values

    def _faults_without_winner(self, seen: list[Any]) -> list[str]:
        if seen:
            return [f"{seen[0]!r} was read, and no write of it won"]
        refused = [event.value for event in self.events if event.won is False]
        return [f"refused without a ready record: {refused}"] if refused else []

    def _faults_if_won(self, winner: Event) -> list[str]:
        others = [event for event in self.events if event is not winner]
        before = [event for event in others if _was_unready(event)]
        after = [event for event in others if _was_ready(event)]
        latest_start = max([winner, *before], key=lambda event: event.began)
        earliest_end = min([winner, *after], key=lambda event: event.ended)
        if latest_start.began <= earliest_end.ended:
            return []
        late, early = _told(latest_start), _told(earliest_end)
        return [f"no moment fits: {winner.value!r} won, {late} began after {early} had ended"]


def _was_unready(event: Event) -> bool:
    return not event.ready and event.won is True


def _was_ready(event: Event) -> bool:
    return event.won is False or (event.kind == "read" and event.ready)


def _told(event: Event) -> str:
    return f"the {event.kind} of {event.value!r} ({'ready' if event.ready else 'unready'})"
