"""
The bell of synchronous code: one change stream, and a thread that reads it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable
from typing import Any

import pymongo
from pymongo import errors

from coatcheck import Bell
from coatcheck.plugin import start

from .link import Link
from .stream import LAG, Listener, TooManyEvents

_logger = logging.getLogger("coatcheck")


class MongoBell(Bell):
    """
    Listens to what becomes ready, whoever waits for it; what rings is only a hint.
    """

    unready = False

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        settings = link.settings
        self.lag = 0.0 if settings.durable else LAG
        self._listener = Listener(limit=settings.push_limit, label=settings.label)
        self._stream: Any = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._pause = 0.0

    @property
    def pushing(self) -> bool:
        """
        Whether the stream is live.
        """
        return self._stream is not None

    def open(self) -> None:
        """
        Open the stream, and have it read from now on. A stream that cannot be opened is tried again
        in the background.
        """
        if not self._link.settings.push:
            return
        self._try_to_open()
        thread = threading.Thread(target=self._run, name="coatcheck-stream", daemon=True)
        start(thread)
        self._thread = thread

    def add(self, keys: Collection[str]) -> None:
        self._listener.keys.update(keys)
        self._link.awaited.update(keys)

    def discard(self, keys: Iterable[str]) -> None:
        gone = set(keys)
        self._listener.keys.difference_update(gone)
        self._link.awaited.difference_update(gone)

    def wait(self, timeout: float) -> Collection[str]:
        self._woken.sleep(timeout)
        # Emptied after the sleep: a ring that comes in between ends the next wait as well.
        return self._listener.take()

    def close(self) -> None:
        """
        End the stream. Its thread ends when the server's answer comes, which is soon.
        """
        self._ended.set()
        self._link.awaited.difference_update(self._listener.keys)
        if self._thread is None:
            self._drop()
        else:
            self._thread.join(self._link.patience)

    # -- the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                if self._stream is None and not self._ended.wait(self._pause):
                    self._try_to_open(ring=True)
                if self._stream is not None:
                    self._listen()
        finally:
            self._drop()

    def _try_to_open(self, *, ring: bool = False) -> None:
        lost = self._listener.token is None
        try:
            self._stream = self._link.open_stream(self._listener.token)
        except (errors.PyMongoError, OSError) as error:
            self._fail(error)
            return
        self._listener.opened()
        self._listener.token = self._stream.resume_token or self._listener.token
        self._link.polling = None
        if ring and lost:
            self._listener.ring_all()
            self._woken.ring()

    def _listen(self) -> None:
        try:
            with pymongo.timeout(self._link.patience):
                event = self._stream.try_next()
            self._listener.token = self._stream.resume_token
            if event is not None and self._listener.heard(event):
                self._woken.ring()
            self._listener.check_rate()
            if not self._stream.alive:  # the collection was dropped, and its indexes with it
                self._link.indexed.clear()
                raise errors.OperationFailure("the change stream was invalidated", 260)
        except (errors.PyMongoError, OSError, TooManyEvents) as error:
            self._drop()
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        reason, self._pause = self._listener.failed(error)
        if not self._ended.is_set():
            _logger.info("no push, polling for now: %s", reason)
            self._link.polling = reason
            # Whoever relied on rings looks from now on.
            self._listener.ring_all()
            self._woken.ring()

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                with pymongo.timeout(self._link.patience):
                    stream.close()
            except (errors.PyMongoError, OSError) as error:
                _logger.debug("the change stream was not closed: %s", error)
