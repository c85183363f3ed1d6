"""
The RabbitMQ backend for asyncio.

It shares the line of the process, because a queue has one reader, and loops come and go. Nothing blocks a loop,
and no thread waits for one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from coatcheck import BackendError
from coatcheck.aio import Bell
from coatcheck.aio.plugin import DrivenBackend, PerLoop
from coatcheck.plugin import URL, ResultMeta, Tree, adrive, members_of, tree_of

from .line import Hold
from .mailbox import Mailbox
from .operations import RPCOperations, Wait
from .settings import Settings

_logger = logging.getLogger("coatcheck")


class RPCBackend(RPCOperations, DrivenBackend[ResultMeta]):
    """The operations, for tasks that wait for the thread of the line."""

    PROTOCOL_VERSION = 1

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        client = self._client
        self._holds: PerLoop[Hold] = PerLoop(
            lambda: Hold(client.line, None if client.sends else client.mailbox), _released
        )

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        return cls(Settings(url, options or {}, operation_timeout=operation_timeout))

    async def reply_to(self) -> str:
        """Return the name of the queue that a worker must know, once the queue exists."""
        return await adrive(self._reply_to(), self._ask)

    def _keep(self) -> None:
        self._holds.get()

    async def _ask(self, request: Wait) -> bool:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        request.outcome.when_done(lambda: _tell(loop, done))
        try:
            await asyncio.wait([done], timeout=request.left)
        except asyncio.CancelledError:
            request.outcome.cancel()
            raise
        return done.done()

    async def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        # Records in memory need no wait, and a task that looks again and again must not hold up the loop.
        await asyncio.sleep(0)
        return await super().get_many(keys)

    @asynccontextmanager
    async def watch(self, keys: Collection[str] = ()) -> AsyncIterator[Bell]:
        mailbox = self._client.mailbox
        bell = MailBell(mailbox)
        await bell.add(keys)
        mailbox.add_bell(bell)
        try:
            try:
                await adrive(self._listen(self._deadline()), self._ask)
            except BackendError as error:
                # The bell does not push for now, and the looks raise the reason.
                _logger.info("no subscription, polling for now: %s", error)
            yield bell
        finally:
            mailbox.remove_bell(bell)

    async def scan(self, prefix: str = "") -> AsyncIterator[str]:
        mailbox = await adrive(self._listen(self._deadline()), self._ask)
        for id_ in mailbox.scan(prefix):
            yield id_

    async def purge(self) -> int:
        return 0 if self._client.sends else self._client.mailbox.purge()

    # -- groups, which this process keeps for itself --------------------------------------

    async def put_group(
        self, group_id: str, task_ids: Sequence[str], *, expires: float | None
    ) -> None:
        await self.put_group_tree(group_id, tree_of(group_id, task_ids), expires=expires)

    async def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        self._client.mailbox.put_group(group_id, tree, expires)

    async def get_group(self, group_id: str) -> list[str] | None:
        tree = await self.get_group_tree(group_id)
        return None if tree is None else members_of(tree)

    async def get_group_tree(self, group_id: str) -> Tree | None:
        return self._client.mailbox.get_group(group_id)

    async def delete_group(self, group_id: str) -> bool:
        return self._client.mailbox.delete_group(group_id)

    async def close(self) -> None:
        hold = self._holds.pop()
        if hold is not None:
            hold.release()


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
    """Set *done*. For any thread."""

    def set_done() -> None:
        if not done.done():
            done.set_result(None)

    try:
        loop.call_soon_threadsafe(set_done)
    except RuntimeError:  # the loop has ended, and nobody waits
        return


async def _released(hold: Hold) -> None:
    hold.release()


class MailBell(Bell):
    """Rings for messages, which arrive in another thread."""

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__()
        self._mailbox = mailbox
        self._loop = asyncio.get_running_loop()
        self._keys: set[str] = set()
        self._rang: deque[str] = deque()

    @property
    def pushing(self) -> bool:
        return self._mailbox.live

    async def add(self, keys: Collection[str]) -> None:
        self._keys.update(keys)

    async def discard(self, keys: Iterable[str]) -> None:
        self._keys.difference_update(keys)

    def ring(self, key: str) -> None:
        """Ring if anybody listens for *key*. For any thread."""
        if key not in self._keys:
            return
        first = not self._rang
        self._rang.append(key)
        if first:
            try:
                self._loop.call_soon_threadsafe(self._woken.set)
            except RuntimeError:  # the loop has ended, and nobody waits
                self._mailbox.remove_bell(self)

    async def wait(self, timeout: float) -> Collection[str]:
        if not self._rang:
            await self._sleep(timeout)
        self._woken.clear()
        rang = set()
        while self._rang:
            rang.add(self._rang.popleft())
        return rang
