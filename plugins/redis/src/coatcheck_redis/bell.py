"""
The bell of synchronous code: one connection that subscribes to the keys' channels.
"""

from __future__ import annotations

import logging
import select
import socket
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from redis import exceptions
from redis.connection import Connection

from coatcheck import Bell
from coatcheck.backend import BATCH

_logger = logging.getLogger("coatcheck")

#: A connection that was silent for so long, in seconds, is asked for a sign of life.
PING_AFTER: Final = 10.0
#: The pause after a connection that failed, in seconds, doubled up to the second number.
RECONNECT: Final = (0.05, 1.0)
#: The pause where the server refused the subscription, in seconds.
REFUSED: Final = 30.0


class RedisBell(Bell):
    """
    Subscribes, listens, and connects again; what rings is only a hint.
    """

    def __init__(self, make_connection: Callable[[], Connection], *, label: str) -> None:
        self._make_connection = make_connection
        self._label = label
        self._connection: Any = None
        self._keys: set[str] = set()
        self._rang: set[str] = set()
        self._heard = 0.0
        self._pinged = False
        self._pause = RECONNECT[0]
        self._retry_at = 0.0
        self._waker, self._alarm = socket.socketpair()
        self._waker.settimeout(0)
        self._alarm.settimeout(0)

    @property
    def pushing(self) -> bool:  # type: ignore[override]
        """
        Whether the subscription is live.
        """
        return self._connection is not None

    # -- subscribing ----------------------------------------------------------------------

    def add(self, keys: Collection[str]) -> None:
        fresh = [key for key in keys if key not in self._keys]
        self._keys.update(fresh)
        if self._connection is None:
            if fresh and time.monotonic() >= self._retry_at:
                self._connect()
        else:
            self._guarded(lambda: self._subscribe(fresh))

    def discard(self, keys: Iterable[str]) -> None:
        gone = [key for key in keys if key in self._keys]
        self._keys.difference_update(gone)
        if self._connection is not None and gone:
            self._guarded(lambda: self._connection.send_command("UNSUBSCRIBE", *gone))

    def _connect(self) -> None:
        self._connection = self._make_connection()
        self._heard, self._pinged = time.monotonic(), False
        # The first command connects.
        if self._guarded(lambda: self._subscribe(self._keys)):
            self._pause = RECONNECT[0]
            # Whatever was stored while nobody listened has to be looked at.
            self._rang.update(self._keys)

    def _subscribe(self, keys: Collection[str]) -> None:
        """
        Subscribe to *keys*, and return when the server has said so for each of them.
        """
        ordered = list(keys)
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            self._connection.send_command("SUBSCRIBE", *batch)
            missing = len(batch)
            while missing:
                missing -= self._take(self._connection.read_response()) == b"subscribe"

    def _guarded(self, act: Callable[[], object]) -> bool:
        """
        Do what needs the connection; an error of it ends the subscription for now.
        """
        try:
            act()
        except (exceptions.RedisError, OSError) as error:
            refused = isinstance(error, exceptions.NoPermissionError)
            pause = REFUSED if refused else self._pause
            self._pause = min(self._pause * 2, RECONNECT[1])
            self._retry_at = time.monotonic() + pause
            _logger.info("%s: no subscription, polling for now: %s", self._label, error)
            self._disconnect()
            return False
        return True

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    # -- listening ------------------------------------------------------------------------

    def wait(self, timeout: float) -> Collection[str]:
        deadline = time.monotonic() + timeout
        while True:
            if self._connection is None and self._keys and time.monotonic() >= self._retry_at:
                self._connect()
            self._guarded(self._read_what_is_there)
            left = deadline - time.monotonic()
            if self._rang or left <= 0 or self._pause_until_readable(left):
                rang, self._rang = self._rang, set()
                return rang

    def _read_what_is_there(self) -> None:
        connection = self._connection
        if connection is None:
            return
        while connection.can_read(0):
            self._take(connection.read_response())
        silent = time.monotonic() - self._heard
        if silent > 2 * PING_AFTER:
            raise exceptions.ConnectionError("the subscription's connection fell silent")
        if silent > PING_AFTER and not self._pinged:
            connection.send_command("PING")
            self._pinged = True

    def _take(self, message: Any) -> bytes:
        """
        Take in one message, and return its kind.
        """
        self._heard, self._pinged = time.monotonic(), False
        kind: bytes = message[0] if isinstance(message, list) else message
        if kind == b"message":
            self._rang.add(message[1].decode("utf-8", "surrogateescape"))
        return kind

    def _pause_until_readable(self, seconds: float) -> bool:
        """
        Sleep until there is something to read, at most *seconds*; `True` if woken by `wake`.
        """
        poller = select.poll()
        poller.register(self._alarm, select.POLLIN)
        if self._connection is not None:
            poller.register(self._connection._sock, select.POLLIN)  # noqa: SLF001 - no public way
        elif self._keys:
            seconds = min(seconds, max(self._retry_at - time.monotonic(), 0.0))
        ready = {descriptor for descriptor, _ in poller.poll(seconds * 1000)}
        if self._alarm.fileno() not in ready:
            return False
        self._alarm.recv(4096)
        return True

    def wake(self) -> None:
        try:
            self._waker.send(b"!")
        except OSError:
            return  # full: it is awake already; closed: nobody waits

    def close(self) -> None:
        """
        End the subscription.
        """
        self._disconnect()
        self._waker.close()
        self._alarm.close()
