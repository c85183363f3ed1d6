"""
The life of a change stream, and the keys that it rings. No I/O.

The bell of a side does the calls of the driver that the generators here ask for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from pymongo.errors import OperationFailure

from coatcheck.errors import BackendError
from coatcheck.plugin import Backoff, monotonic

from .errors import ERRORS, has_no_streams, is_stale, mapped

_logger = logging.getLogger("coatcheck")

#: The seconds for one count of events.
WINDOW: Final = 2.0
#: How late events may come, in seconds, of writes that a majority need not acknowledge. The stream tells of
#: them when a majority has them; if nobody waits for that, it takes up to a journal's interval.
LAG: Final = 0.1


class TooManyEvents(Exception):  # noqa: N818 - it is a state of affairs
    """Others write so much that polling costs less."""


class Call(NamedTuple):
    """A call of the driver. It may be cancelled with the task that reads if *stop* is true."""

    act: Callable[[], Any]
    stop: bool = False


class Pause(NamedTuple):
    """A pause in seconds."""

    seconds: float


Life = Generator[Call | Pause, Any, None]


class Feed:
    """
    The subscription of one bell. One thread or task lives it, another one takes the keys that rang.
    """

    def __init__(self, link: Any, wake: Callable[[], None]) -> None:
        settings = link.settings
        self._link = link
        self._opened = link.closings
        self._wake = wake
        self._limit = settings.push_limit
        self._label = settings.label
        self.keys: set[str] = set()
        #: The keys that rang. Two threads share the set, so only single calls change it.
        self.rang: set[str] = set()
        #: How late a ring may come, in seconds.
        self.lag = 0.0 if settings.durable else LAG
        #: The driver's stream; `None` while it is closed.
        self.stream: Any = None
        self.ended = False
        #: Where to continue; `None` if nothing is known.
        self._token: Mapping[str, Any] | None = None
        self._foreign = 0
        self._since = monotonic()
        self._backoff = Backoff()

    # -- the keys -------------------------------------------------------------------------

    def add(self, keys: Collection[str]) -> None:
        """Ring for *keys*, and read them from the primary."""
        self.keys.update(keys)
        self._link.awaited.update(keys)

    def discard(self, keys: Iterable[str]) -> None:
        """Ring no longer for *keys*."""
        gone = set(keys)
        self.keys.difference_update(gone)
        self._link.awaited.difference_update(gone)

    def end(self) -> None:
        """End the life after the call that is going on."""
        self.ended = True
        self._link.awaited.difference_update(self.keys)

    def take(self) -> Collection[str]:
        """Return the keys that rang, and forget them."""
        rang = set()
        while self.rang:
            rang.add(self.rang.pop())
        return rang

    # -- the life of the stream -----------------------------------------------------------

    def live(self) -> Life:
        """Read the stream until the end, and open it again when it breaks."""
        while not self.ended:
            if self.stream is None:
                yield Pause(self._backoff.left)
                if not self.ended:
                    yield from self.open()
            else:
                yield from self._read()

    def open(self) -> Life:
        """Open the stream, if that is possible now."""
        lost = self._token is None
        try:
            self.stream = yield Call(partial(self._link.open_stream, self._token, self._opened))
        except ERRORS as error:
            self.failed(error)
            return
        self.opened()
        if lost:
            self._ring_all()

    def opened(self) -> None:
        """Note that the stream is live."""
        self._token = self.stream.resume_token or self._token
        self._backoff.worked()
        self._foreign, self._since = 0, monotonic()
        self._link.polling = None

    def _read(self) -> Life:
        stream = self.stream
        try:
            event = yield Call(stream.try_next, stop=True)
            self._token = stream.resume_token
            if event is not None:
                self._heard(event)
            self._check_rate()
            if not stream.alive:  # the collection was dropped, and its indexes with it
                self._link.indexed.clear()
                raise OperationFailure("the change stream was invalidated", 260)
        except (*ERRORS, TooManyEvents) as error:
            yield from self.drop()
            self.failed(error)

    def drop(self) -> Life:
        """Close the stream, if there is one."""
        stream, self.stream = self.stream, None
        if stream is not None:
            try:
                yield Call(stream.close)
            except ERRORS as error:
                _logger.debug("the change stream was not closed: %s", error)

    def failed(self, error: Exception) -> None:
        """Note that the stream broke. All keys ring, because waits must look from now on."""
        refused = isinstance(error, TooManyEvents) or has_no_streams(error)
        self._backoff.failed(refused=refused)
        if refused or is_stale(error):
            self._token = None
        if not self.ended:
            self._link.polling = self._reason(error)
            _logger.info("no push, polling for now: %s", self._link.polling)
            self._ring_all()

    def _reason(self, error: Exception) -> BackendError:
        if isinstance(error, TooManyEvents):
            return BackendError(f"{self._label}: polling instead of listening: {error}")
        if has_no_streams(error):
            return BackendError(f"{self._label} offers no change streams, so waits poll: {error}")
        return mapped(error, self._label, writing=False)

    def _heard(self, event: Mapping[str, Any]) -> None:
        task_id = event.get("documentKey", {}).get("_id")
        if task_id in self.keys:
            self.rang.add(task_id)
            self._wake()
        else:
            self._foreign += 1

    def _check_rate(self) -> None:
        seconds = monotonic() - self._since
        if seconds < WINDOW:
            return
        foreign, self._foreign = self._foreign, 0
        self._since = monotonic()
        if foreign > self._limit * seconds:
            rate = foreign / seconds
            raise TooManyEvents(f"{rate:.0f} events a second that nobody waits for")

    def _ring_all(self) -> None:
        if self.keys:
            self.rang |= self.keys
            self._wake()
