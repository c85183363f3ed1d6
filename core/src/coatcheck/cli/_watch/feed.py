"""
Keeps the rows of `coatcheck watch` up to date: one thread lists the records, another one waits for tasks.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from ..._runtime.clocks import monotonic
from ..._runtime.starting import start
from ...errors import CoatcheckError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..._results.results import Results
    from .rows import Rows

#: How many records one read asks for.
_BATCH: Final = 250
#: How many running tasks are waited for. Others are read when the tasks are listed.
FOLLOWED: Final = 500
#: How often the wait looks whether there are other tasks to wait for, in seconds.
_LOOK: Final = 0.5
#: A pause is this many times as long as the work before it: the store has others to serve.
_REST: Final = 3.0


class _NewTasksError(Exception):
    """There are running tasks that nobody waits for."""


class Feed:
    """
    Reads all records once, and then the new and the unready ones, every *interval* seconds or less often.

    Tasks that run are waited for, so that a store that wakes waiters tells their changes at once.
    """

    def __init__(self, results: Results, rows: Rows, *, interval: float) -> None:
        self._results = results
        self._rows = rows
        self._interval = interval
        self._stopped = threading.Event()
        self._errors: dict[str, Exception | None] = {}

    @property
    def trouble(self) -> Exception | None:
        """The error that keeps the feed from reading; `None` if there is none."""
        return next((error for error in list(self._errors.values()) if error is not None), None)

    def start(self) -> None:
        """Begin. Raises `UnsupportedError` for a store that lists nothing."""
        next(self._results.backend.scan(), None)
        for work in (self._list, self._follow):
            thread = threading.Thread(target=self._forever, args=(work,), daemon=True)
            thread.name = f"coatcheck-watch{work.__name__}"
            start(thread)

    def stop(self) -> None:
        """End both threads soon."""
        self._stopped.set()

    def _forever(self, work: Callable[[], None]) -> None:
        while not self._stopped.is_set():
            began = monotonic()
            try:
                work()
                error = None
            except CoatcheckError as caught:
                error = caught
            self._errors[work.__name__] = error
            took = monotonic() - began
            pause = max(self._interval, _REST * took) if work == self._list else _LOOK
            self._stopped.wait(pause)

    def _list(self) -> None:
        seen: set[str] = set()
        for batch in _batches(self._new(seen)):
            if self._stopped.is_set():
                return
            began = monotonic()
            # Not checked as ids: foreign keys may have made them.
            self._rows.take(self._results.backend.get_many(batch).values())
            self._stopped.wait(monotonic() - began)
        self._rows.keep(seen)
        self._rows.complete = True

    def _new(self, seen: set[str]) -> Iterator[str]:
        for task_id in self._results.backend.scan():
            if task_id:
                seen.add(task_id)
                if self._rows.wanted(task_id):
                    yield task_id

    def _follow(self) -> None:
        ids = self._rows.running(FOLLOWED)
        followed, version = set(ids), self._rows.version

        def look() -> None:
            nonlocal version
            changed, version = version != self._rows.version, self._rows.version
            if self._stopped.is_set() or (changed and self._rows.running(FOLLOWED, but=followed)):
                raise _NewTasksError

        with suppress(_NewTasksError):
            for meta in self._results.as_completed(
                ids, interval=_LOOK, on_interval=look, updates=True
            ):
                if meta.known:
                    self._rows.take([meta])


def _batches(ids: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(ids, _BATCH)):
        yield batch
