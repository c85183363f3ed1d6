"""
The RabbitMQ backend for synchronous code.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from coatcheck import BackendError, Bell, UnsupportedError
from coatcheck.plugin import (
    URL,
    Alarm,
    Backend,
    LocalBell,
    ResultMeta,
    Tree,
    Unless,
    forks,
    members_of,
    monotonic,
    pass_on_interruption,
    tree_of,
)

from . import celerysettings
from .client import CAPABILITIES, LIMIT, Client
from .line import Hold, Post, left
from .mailbox import Mailbox
from .outcome import Outcome
from .settings import Settings

_logger = logging.getLogger("coatcheck")

T = TypeVar("T")


class RPCBackend(Backend[ResultMeta]):
    """
    Records as messages to the queue of the process that reads them, which decides on them in the
    order in which they arrive.
    """

    PROTOCOL_VERSION = 1
    capabilities = CAPABILITIES

    def __init__(self, settings: Settings) -> None:
        self._client = Client(settings)
        self.max_value_bytes = LIMIT
        self._timeout = settings.operation_timeout
        self._hold: Hold | None = None
        forks.register(self)

    def after_fork(self) -> None:
        self._hold = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._client!r})"

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        return cls(Settings(url, options or {}, operation_timeout=operation_timeout))

    @classmethod
    def celery_options(cls, url: URL, settings: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return celerysettings.celery_options(url, settings)

    @property
    def trouble(self) -> Exception | None:
        """
        Why there is no connection just now.
        """
        return self._client.trouble

    def reply_to(self) -> str:
        """
        Return the name of the queue that a worker has to be told, which is there by then.
        """
        client = self._client
        if not client.sends:
            self._listen(self._deadline(), writing=False)
        return client.queue

    # -- the line -------------------------------------------------------------------------

    def _deadline(self) -> float:
        return monotonic() + self._timeout

    def _keep(self) -> None:
        forks.check()
        if self._hold is None:
            client = self._client
            self._hold = Hold(client.line, None if client.sends else client.mailbox)

    def _live(self, deadline: float) -> Mailbox:
        """
        Return the mailbox when what is sent to it arrives. Raises why it does not.
        """
        client = self._client
        mailbox = client.mailbox
        self._keep()
        if not mailbox.live:
            mailbox.codec = self.codec
            self._wait(client.line.listen(mailbox), deadline, writing=False)
        return mailbox

    def _listen(self, deadline: float, *, writing: bool) -> Mailbox:
        """
        Return the same, and raise ours.
        """
        try:
            return self._live(deadline)
        except UnsupportedError:
            raise
        except Exception as error:
            pass_on_interruption(error)
            raise self._client.error(error, writing=writing) from error

    def _wait(self, outcome: Outcome[T], deadline: float, *, writing: bool) -> T:
        """
        Return what *outcome* is. Raises what it does, or why there is nothing.
        """
        done = Alarm()
        outcome.when_done(done.ring)
        if not done.sleep(left(deadline)) and outcome.cancel():
            raise self._client.why(writing=writing)
        return outcome.result()

    def _send(self, posts: Sequence[Post]) -> list[bool]:
        client, deadline = self._client, self._deadline()
        if client.sends:
            self._keep()
        else:
            self._listen(deadline, writing=True)
        won: list[bool] = []
        try:
            client.line.send(posts)
            for post in posts:
                won.append(self._wait(post.done, deadline, writing=True))  # noqa: PERF401 - up to the first error
        except Exception as error:  # noqa: BLE001 - the driver's, and ours
            pass_on_interruption(error)
            client.write_failed(error, posts[len(won)].task_id)
        finally:
            for post in posts[len(won) :]:
                post.done.cancel()
        return won

    # -- what is asked for ----------------------------------------------------------------

    def put(
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
        return self._send(posts)[0]

    def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        posts = self._client.posts(items, self, unless=unless, expires=expires)
        return self._send(posts)

    def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        client = self._client
        known = client.known(keys, self.codec)
        if known is None:
            try:
                mailbox = self._live(self._deadline())
            except Exception as error:  # noqa: BLE001 - the driver's
                pass_on_interruption(error)
                client.read_failed(error, keys, self.codec)
            known = client.metas(mailbox.get(keys), self.codec)
        return known

    def delete_many(self, keys: Collection[str]) -> int:
        return self._listen(self._deadline(), writing=True).delete(keys)

    @contextmanager
    def watch(self, keys: Collection[str] = ()) -> Iterator[Bell]:
        mailbox = self._client.mailbox
        bell = MailBell(mailbox)
        bell.add(keys)
        mailbox.add_bell(bell)
        try:
            try:
                self._listen(self._deadline(), writing=False)
            except BackendError as error:
                # The bell does not push, for now, and the looks tell why.
                _logger.info("no subscription, polling for now: %s", error)
            yield bell
        finally:
            mailbox.remove_bell(bell)

    def scan(self, prefix: str = "") -> Iterator[str]:
        return self._listen(self._deadline(), writing=False).scan(prefix)

    def purge(self) -> int:
        return 0 if self._client.sends else self._client.mailbox.purge()

    # -- groups, which are kept in this process alone -------------------------------------

    def put_group(self, group_id: str, task_ids: Sequence[str], *, expires: float | None) -> None:
        self.put_group_tree(group_id, tree_of(group_id, task_ids), expires=expires)

    def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        self._client.put_group(group_id, tree, expires)

    def get_group(self, group_id: str) -> list[str] | None:
        tree = self.get_group_tree(group_id)
        return None if tree is None else members_of(tree)

    def get_group_tree(self, group_id: str) -> Tree | None:
        return self._client.mailbox.get_group(group_id)

    def delete_group(self, group_id: str) -> bool:
        return self._client.mailbox.delete_group(group_id)

    def close(self) -> None:
        forks.check()
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.release()


class MailBell(LocalBell):
    """
    Rings for what arrives.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__()
        self._mailbox = mailbox

    @property
    def pushing(self) -> bool:
        """
        Whether what is sent arrives.
        """
        return self._mailbox.live
