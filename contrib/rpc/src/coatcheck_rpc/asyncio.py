"""
The RabbitMQ backend for asyncio.

Its connection is the one of the process, see `line`: a queue has one reader, and loops come and go.
Nothing blocks a loop, and nothing waits in a thread for one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self, TypeVar

from coatcheck import BackendError, UnsupportedError
from coatcheck.aio import Bell
from coatcheck.aio.plugin import Backend, PerLoop
from coatcheck.plugin import (
    URL,
    ResultMeta,
    Tree,
    Unless,
    members_of,
    monotonic,
    pass_on_interruption,
    tree_of,
)

from .client import CAPABILITIES, LIMIT, Client
from .line import Hold, Post, left
from .mailbox import Mailbox
from .outcome import Outcome
from .settings import Settings

_logger = logging.getLogger("coatcheck")

T = TypeVar("T")


class RPCBackend(Backend[ResultMeta]):
    """
    As `coatcheck_rpc.sync.RPCBackend`, with coroutines.
    """

    PROTOCOL_VERSION = 1
    capabilities = CAPABILITIES

    def __init__(self, settings: Settings) -> None:
        self._client = Client(settings)
        self.max_value_bytes = LIMIT
        self._timeout = settings.operation_timeout
        client = self._client
        self._holds: PerLoop[Hold] = PerLoop(
            lambda: Hold(client.line, None if client.sends else client.mailbox), _released
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._client!r})"

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        return cls(Settings(url, options or {}, operation_timeout=operation_timeout))

    @property
    def trouble(self) -> Exception | None:
        """
        Why there is no connection just now.
        """
        return self._client.trouble

    async def reply_to(self) -> str:
        """
        Return the name of the queue that a worker has to be told, which is there by then.
        """
        client = self._client
        if not client.sends:
            await self._listen(self._deadline(), writing=False)
        return client.queue

    # -- the line -------------------------------------------------------------------------

    def _deadline(self) -> float:
        return monotonic() + self._timeout

    async def _live(self, deadline: float) -> Mailbox:
        """
        Return the mailbox when what is sent to it arrives. Raises why it does not.
        """
        client = self._client
        mailbox = client.mailbox
        self._holds.get()
        if not mailbox.live:
            mailbox.codec = self.codec
            await self._wait(client.line.listen(mailbox), deadline, writing=False)
        return mailbox

    async def _listen(self, deadline: float, *, writing: bool) -> Mailbox:
        """
        Return the same, and raise ours.
        """
        try:
            return await self._live(deadline)
        except UnsupportedError:
            raise
        except Exception as error:
            pass_on_interruption(error)
            raise self._client.error(error, writing=writing) from error

    async def _wait(self, outcome: Outcome[T], deadline: float, *, writing: bool) -> T:
        """
        Return what *outcome* is. Raises what it does, or why there is nothing.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        outcome.when_done(partial(_tell, loop, done))
        try:
            await asyncio.wait([done], timeout=left(deadline))
        except asyncio.CancelledError:
            outcome.cancel()
            raise
        if not done.done() and outcome.cancel():
            raise self._client.why(writing=writing)
        return outcome.result()

    async def _send(self, posts: Sequence[Post]) -> list[bool]:
        client, deadline = self._client, self._deadline()
        if client.sends:
            self._holds.get()
        else:
            await self._listen(deadline, writing=True)
        won: list[bool] = []
        try:
            client.line.send(posts)
            for post in posts:
                won.append(await self._wait(post.done, deadline, writing=True))  # noqa: PERF401 - up to the first error
        except Exception as error:  # noqa: BLE001 - the driver's, and ours
            pass_on_interruption(error)
            client.write_failed(error, posts[len(won)].task_id)
        finally:
            for post in posts[len(won) :]:
                post.done.cancel()
        return won

    # -- what is asked for ----------------------------------------------------------------

    async def put(
        self,
        key: str,
        value: ResultMeta,
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> bool:
        posts = self._client.posts(
            [(key, value)], self, unless=unless, if_match=if_match, expires=expires
        )
        return (await self._send(posts))[0]

    async def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        posts = self._client.posts(items, self, unless=unless, expires=expires)
        return await self._send(posts)

    async def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        client = self._client
        # What is in memory needs no wait, and who looks again and again must not hold the loop up.
        await asyncio.sleep(0)
        known = client.known(keys, self.codec)
        if known is None:
            try:
                mailbox = await self._live(self._deadline())
            except Exception as error:  # noqa: BLE001 - the driver's
                pass_on_interruption(error)
                client.read_failed(error, keys, self.codec)
            known = client.metas(mailbox.get(keys), self.codec)
        return known

    async def delete_many(self, keys: Collection[str]) -> int:
        return (await self._listen(self._deadline(), writing=True)).delete(keys)

    @asynccontextmanager
    async def watch(self, keys: Collection[str] = ()) -> AsyncIterator[Bell]:
        mailbox = self._client.mailbox
        bell = MailBell(mailbox)
        await bell.add(keys)
        mailbox.add_bell(bell)
        try:
            try:
                await self._listen(self._deadline(), writing=False)
            except BackendError as error:
                # The bell does not push, for now, and the looks tell why.
                _logger.info("no subscription, polling for now: %s", error)
            yield bell
        finally:
            mailbox.remove_bell(bell)

    async def scan(self, prefix: str = "") -> AsyncIterator[str]:
        mailbox = await self._listen(self._deadline(), writing=False)
        for id_ in mailbox.scan(prefix):
            yield id_

    async def purge(self) -> int:
        return 0 if self._client.sends else self._client.mailbox.purge()

    # -- groups, which are kept in this process alone -------------------------------------

    async def put_group(
        self, group_id: str, task_ids: Sequence[str], *, expires: float | None
    ) -> None:
        await self.put_group_tree(group_id, tree_of(group_id, task_ids), expires=expires)

    async def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        self._client.put_group(group_id, tree, expires)

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
    """
    Set *done*. For any thread.
    """

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
    """
    Rings for what arrives, which is in another thread.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__()
        self._mailbox = mailbox
        self._loop = asyncio.get_running_loop()
        self._keys: set[str] = set()
        self._rang: deque[str] = deque()

    @property
    def pushing(self) -> bool:
        """
        Whether what is sent arrives.
        """
        return self._mailbox.live

    async def add(self, keys: Collection[str]) -> None:
        self._keys.update(keys)

    async def discard(self, keys: Iterable[str]) -> None:
        self._keys.difference_update(keys)

    def ring(self, key: str) -> None:
        """
        Ring, if anybody listens for *key*. For any thread.
        """
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
