"""
The bell of synchronous code: one change stream, and a thread that reads it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from typing import Any

import pymongo

from coatcheck import Bell
from coatcheck.plugin import Alarm, drive, start

from .errors import ERRORS
from .link import Link
from .stream import Call, Feed, Life, Pause


class MongoBell(Bell):
    """Rings when a record becomes ready."""

    unready = False

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self._feed = Feed(link, self.wake)
        self.lag = self._feed.lag
        self._end = Alarm()
        self._thread: threading.Thread | None = None

    @property
    def pushing(self) -> bool:
        return self._feed.stream is not None

    def open(self) -> None:
        """Open the stream, and start to read it. If it cannot be opened, the thread tries again."""
        if self._link.settings.push:
            self._drive(self._feed.open())
            thread = threading.Thread(target=self._run, name="coatcheck-stream", daemon=True)
            start(thread)
            self._thread = thread

    def add(self, keys: Collection[str]) -> None:
        self._feed.add(keys)

    def discard(self, keys: Iterable[str]) -> None:
        self._feed.discard(keys)

    def wait(self, timeout: float) -> Collection[str]:
        self._woken.sleep(timeout)
        # Emptied after the sleep: a ring that comes in between ends the next wait as well.
        return self._feed.take()

    def close(self) -> None:
        """End the stream. Its thread ends with the server's next answer, which comes soon."""
        self._feed.end()
        self._end.ring()
        if self._thread is None:
            self._drive(self._feed.drop())
        else:
            self._thread.join(self._link.patience)

    def _run(self) -> None:
        try:
            self._drive(self._feed.live())
        finally:
            self._drive(self._feed.drop())

    def _drive(self, life: Life) -> None:
        drive(life, self._do, ERRORS)

    def _do(self, step: Call | Pause) -> Any:
        if isinstance(step, Pause):
            return self._end.sleep(step.seconds)
        with pymongo.timeout(self._link.patience):
            return step.act()
