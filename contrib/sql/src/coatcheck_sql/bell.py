"""
The bell of synchronous code: one connection that listens.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from functools import partial

import psycopg

from coatcheck import Bell
from coatcheck.plugin import Waker, monotonic

from .bounded import Connection
from .deadline import until
from .engines import look_up
from .errors import is_refused, mapped
from .link import Link
from .listening import PING, PING_AFTER, Listener, connect_arguments

_logger = logging.getLogger("coatcheck")


class PostgreSQLBell(Bell):
    """Listens, and connects again after an error. A ring is only a hint."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self._listener = Listener()
        self._connection: Connection | None = None
        self._heard = 0.0
        self._waker = Waker()

    @property
    def pushing(self) -> bool:
        """Whether the connection listens, and writers notify."""
        return self._connection is not None and self._link.told

    def add(self, keys: Collection[str]) -> None:
        self._listener.add(keys)
        self._open()

    def discard(self, keys: Iterable[str]) -> None:
        self._listener.discard(keys)

    def _open(self) -> bool:
        """Connect and listen, unless that failed a moment ago. Return whether it was done."""
        if self._connection is not None or self._listener.backoff.left:
            return False
        try:
            connection = until(self._end_of_try(), self._connected)
        except (psycopg.Error, OSError) as error:
            self._fail(error)
            return False
        self._connection, self._heard = connection, monotonic()
        self._listener.opened(connection.letters)
        self._link.polling = None
        return True

    def _end_of_try(self) -> float:
        return monotonic() + self._link.settings.operation_timeout / 2

    def _connected(self) -> Connection:
        url = self._link.settings.listen
        look_up(url)
        positional, named = connect_arguments(url)
        connection = Connection.connect(*positional, **named, autocommit=True)
        try:
            connection.begin(self._link.limits)
            connection.execute(f'LISTEN "{self._link.channel}"')
        except BaseException:
            connection.close()
            raise
        return connection

    def wait(self, timeout: float) -> Collection[str]:
        deadline = monotonic() + timeout
        while True:
            if self._open():
                self._listener.ring_all()
            self._hear()
            left = deadline - monotonic()
            if self._listener.rings or left <= 0 or self._pause_until_readable(left):
                return self._listener.take()

    def _hear(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if monotonic() - self._heard > PING_AFTER:
                until(self._end_of_try(), partial(connection.ask, PING, {}))
                self._heard = monotonic()
            for payload in connection.heard():
                self._heard = monotonic()
                self._listener.heard(payload)
        except (psycopg.Error, OSError) as error:
            self._drop(error)

    def _pause_until_readable(self, seconds: float) -> bool:
        """Sleep until there is something to do, at most *seconds*; `True` if woken by `wake`."""
        if self._connection is None:
            return self._waker.sleep((), min(seconds, self._listener.backoff.left))[1]
        silent = max(self._heard + PING_AFTER - monotonic(), 0.0) + 0.001
        return self._waker.sleep([self._connection.fileno()], min(seconds, silent))[1]

    def wake(self) -> None:
        self._waker.wake()

    def _drop(self, error: Exception) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        # From now on waits poll.
        self._listener.ring_all()
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        ours = mapped(error, self._link.settings.label, writing=False)
        _logger.info("nobody listens, polling for now: %s", ours)
        self._link.polling = ours
        self._listener.backoff.failed(refused=is_refused(error))

    def close(self) -> None:
        """Stop listening."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._waker.close()
