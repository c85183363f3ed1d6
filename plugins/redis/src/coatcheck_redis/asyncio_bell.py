"""
The bell for asyncio: one connection, and one task that reads it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

from redis import exceptions

from coatcheck.aio import Bell
from coatcheck.backend import BATCH

from .bell import PING_AFTER, RECONNECT, REFUSED

_logger = logging.getLogger("coatcheck")


class RedisBell(Bell):
    """
    Subscribes, listens, and connects again; what rings is only a hint.
    """

    def __init__(self, make_connection: Callable[[], Any], *, label: str, patience: float) -> None:
        super().__init__()
        self._make_connection = make_connection
        self._label = label
        self._patience = patience
        self._connection: Any = None
        self._keys: set[str] = set()
        self._rang: set[str] = set()
        self._reader: asyncio.Task[None] | None = None
        # The keys whose subscription the server has not confirmed, and whether that goes on.
        self._unconfirmed: set[str] = set()
        self._settled = asyncio.Event()

    @property
    def pushing(self) -> bool:  # type: ignore[override]
        """
        Whether the subscription is live.
        """
        return self._connection is not None

    async def add(self, keys: Collection[str]) -> None:
        fresh = [key for key in keys if key not in self._keys]
        self._keys.update(fresh)
        if not fresh:
            return
        self._settled.clear()
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_for_ever(), name="coatcheck-bell")
        elif self._connection is not None:
            await self._subscribe(self._connection, fresh)
        else:
            return  # it tries to connect, and will ring then
        await self._until_settled()

    async def _until_settled(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._settled.wait()
        except TimeoutError:
            # A server that does not confirm does not push either: the reader starts anew.
            if self._connection is not None:
                await self._connection.disconnect(nowait=True)

    async def _subscribe(self, connection: Any, keys: Collection[str]) -> None:
        """
        Send the subscription; the reader settles it, or its end.
        """
        ordered = list(keys)
        self._unconfirmed.update(ordered)
        try:
            for start in range(0, len(ordered), BATCH):
                await connection.send_command("SUBSCRIBE", *ordered[start : start + BATCH])
        except (exceptions.RedisError, OSError):
            self._settled.set()  # the reader finds the same error

    async def discard(self, keys: Iterable[str]) -> None:
        gone = [key for key in keys if key in self._keys]
        self._keys.difference_update(gone)
        if self._connection is not None and gone:
            try:
                await self._connection.send_command("UNSUBSCRIBE", *gone)
            except (exceptions.RedisError, OSError) as error:
                # The reader finds the same error, and connects again.
                _logger.debug("%s: %s", self._label, error)

    # -- the reader -----------------------------------------------------------------------

    async def _read_for_ever(self) -> None:
        pause = RECONNECT[0]
        while True:
            connection = self._make_connection()
            try:
                await connection.connect()
                await self._subscribe(connection, self._keys)
                self._connection = connection
                pause = RECONNECT[0]
                # Whatever was stored while nobody listened has to be looked at.
                self._ring(self._keys)
                await self._read(connection)
            except (exceptions.RedisError, OSError) as error:
                _logger.info("%s: no subscription, polling for now: %s", self._label, error)
                refused = isinstance(error, exceptions.NoPermissionError)
                pause = REFUSED if refused else min(pause * 2, RECONNECT[1])
            finally:
                self._connection = None
                self._unconfirmed.clear()
                self._settled.set()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(pause)

    async def _read(self, connection: Any) -> None:
        pinged = False
        while True:
            try:
                message = await connection.read_response(
                    timeout=PING_AFTER, disconnect_on_error=False
                )
            except exceptions.TimeoutError:
                if pinged:
                    raise
                pinged = True
                await connection.send_command("PING")
                continue
            pinged = False
            self._take(message)

    def _take(self, message: Any) -> None:
        kind = message[0] if isinstance(message, list) else message
        if kind == b"message":
            self._ring([message[1].decode("utf-8", "surrogateescape")])
        elif kind == b"subscribe":
            self._unconfirmed.discard(message[1].decode("utf-8", "surrogateescape"))
            if not self._unconfirmed:
                self._settled.set()

    def _ring(self, keys: Iterable[str]) -> None:
        self._rang.update(keys)
        self._woken.set()

    # -- listening ------------------------------------------------------------------------

    async def wait(self, timeout: float) -> Collection[str]:
        if not self._rang:
            await self._sleep(timeout)
        self._woken.clear()
        rang, self._rang = self._rang, set()
        return rang

    async def close(self) -> None:
        """
        End the subscription.
        """
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
