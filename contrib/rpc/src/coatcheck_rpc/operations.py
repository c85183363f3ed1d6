"""
The operations, once for synchronous code and for asyncio. No I/O.

An operation yields the outcomes that it waits for: the thread of the line brings them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from coatcheck import Capability, UnsupportedError
from coatcheck.plugin import (
    Operation,
    Operations,
    ResultMeta,
    Unless,
    monotonic,
    pass_on_interruption,
)

from .client import Client
from .mailbox import Mailbox
from .outcome import Outcome
from .posts import Post
from .settings import Settings

T = TypeVar("T")

#: The bytes that RabbitMQ accepts by default. Newer ones accept less, and say so.
LIMIT: Final = 128 * 1024 * 1024


class Wait(NamedTuple):
    """
    Asks the driver of a side to wait for an outcome. The reply is whether it came before the deadline.
    """

    outcome: Outcome[Any]
    #: On the clock `monotonic`.
    deadline: float

    @property
    def left(self) -> float:
        """The seconds until the deadline; 0 if it has passed."""
        return max(self.deadline - monotonic(), 0.0)


class RPCOperations(Operations[ResultMeta]):
    """
    Records as messages to the queue of the process that reads them. It judges them in the order of their arrival.
    """

    capabilities = Capability.PUSH | Capability.TTL | Capability.SCAN
    max_value_bytes = LIMIT

    def __init__(self, settings: Settings) -> None:
        self._client = Client(settings)
        self._timeout = settings.operation_timeout

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._client!r})"

    @property
    def trouble(self) -> Exception | None:
        """The reason why there is no connection now."""
        return self._client.trouble

    @abstractmethod
    def _keep(self) -> None:
        """Hold the line for this backend."""

    def _await(self, outcome: Outcome[T], deadline: float, *, writing: bool) -> Operation[Wait, T]:
        """Return the value of *outcome*. Raises its error, or the reason why it did not come."""
        came = yield Wait(outcome, deadline)
        if not came and outcome.cancel():
            raise self._client.why(writing=writing)
        return outcome.result()

    def _live(self, deadline: float) -> Operation[Wait, Mailbox]:
        """Return the mailbox once messages arrive in it. Raises the driver's errors."""
        mailbox = self._client.mailbox
        self._keep()
        if not mailbox.live:
            mailbox.codec = self.codec
            yield from self._await(self._client.line.listen(mailbox), deadline, writing=False)
        return mailbox

    def _deadline(self) -> float:
        return monotonic() + self._timeout

    def _listen(self, deadline: float, *, writing: bool = False) -> Operation[Wait, Mailbox]:
        """Return the mailbox once messages arrive in it. Raises our errors."""
        try:
            return (yield from self._live(deadline))
        except UnsupportedError:
            raise
        except Exception as error:
            pass_on_interruption(error)
            raise self._client.error(error, writing=writing) from error

    def _send(self, posts: Sequence[Post]) -> Operation[Wait, list[bool]]:
        client, deadline = self._client, self._deadline()
        if client.sends:
            self._keep()
        else:
            yield from self._listen(deadline, writing=True)
        won: list[bool] = []
        try:
            client.line.send(posts)
            for post in posts:
                won.append((yield from self._await(post.done, deadline, writing=True)))  # noqa: PERF401 - up to the first error
        except Exception as error:  # noqa: BLE001 - the driver's, and ours
            pass_on_interruption(error)
            client.write_failed(error, posts[len(won)].task_id)
        finally:
            for post in posts[len(won) :]:
                post.done.cancel()
        return won

    def _put(
        self,
        key: str,
        value: ResultMeta,
        unless: Unless,
        if_match: ResultMeta | None,
        expires: float | None,
    ) -> Operation[Wait, bool]:
        posts = self._client.posts(
            [(key, value)], self, unless=unless, if_match=if_match, expires=expires
        )
        return (yield from self._send(posts))[0]

    def _put_many(
        self, items: Sequence[tuple[str, ResultMeta]], unless: Unless, expires: float | None
    ) -> Operation[Wait, list[bool]]:
        posts = self._client.posts(items, self, unless=unless, expires=expires)
        return self._send(posts)

    def _get_many(self, keys: Collection[str]) -> Operation[Wait, dict[str, ResultMeta]]:
        client = self._client
        known = client.known(keys, self.codec)
        if known is None:
            try:
                mailbox = yield from self._live(self._deadline())
            except Exception as error:  # noqa: BLE001 - the driver's
                pass_on_interruption(error)
                client.read_failed(error, keys, self.codec)
            known = client.metas(mailbox.get(keys), self.codec)
        return known

    def _delete_many(self, keys: Collection[str]) -> Operation[Wait, int]:
        return (yield from self._listen(self._deadline(), writing=True)).delete(keys)

    def _reply_to(self) -> Operation[Wait, str]:
        """Return the name of the queue that a worker must know, once the queue exists."""
        if not self._client.sends:
            yield from self._listen(self._deadline())
        return self._client.queue
