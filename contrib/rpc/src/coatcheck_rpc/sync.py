"""
The RabbitMQ backend for synchronous code.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from coatcheck import BackendError, Bell
from coatcheck.plugin import (
    URL,
    Alarm,
    DrivenBackend,
    LocalBell,
    ResultMeta,
    Tree,
    drive,
    forks,
    members_of,
    tree_of,
)

from . import celerysettings
from .line import Hold
from .mailbox import Mailbox
from .operations import RPCOperations, Wait
from .settings import Settings

if TYPE_CHECKING:
    from coatcheck.plugin import Checkup

_logger = logging.getLogger("coatcheck")


class RPCBackend(RPCOperations, DrivenBackend[ResultMeta]):
    """The operations, for threads that wait for the thread of the line."""

    PROTOCOL_VERSION = 1

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._hold: Hold | None = None
        forks.register(self)

    def after_fork(self) -> None:
        self._hold = None

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        return cls(Settings(url, options or {}, operation_timeout=operation_timeout))

    @classmethod
    def celery_options(cls, url: URL, settings: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return celerysettings.celery_options(url, settings)

    def reply_to(self) -> str:
        """Return the name of the queue that a worker must know, once the queue exists."""
        return drive(self._reply_to(), self._ask)

    def _keep(self) -> None:
        forks.check()
        if self._hold is None:
            client = self._client
            self._hold = Hold(client.line, None if client.sends else client.mailbox)

    def _ask(self, request: Wait) -> bool:
        done = Alarm()
        request.outcome.when_done(done.ring)
        return done.sleep(request.left)

    @contextmanager
    def watch(self, keys: Collection[str] = ()) -> Iterator[Bell]:
        mailbox = self._client.mailbox
        bell = MailBell(mailbox)
        bell.add(keys)
        mailbox.add_bell(bell)
        try:
            try:
                drive(self._listen(self._deadline()), self._ask)
            except BackendError as error:
                # The bell does not push for now, and the looks raise the reason.
                _logger.info("no subscription, polling for now: %s", error)
            yield bell
        finally:
            mailbox.remove_bell(bell)

    def scan(self, prefix: str = "") -> Iterator[str]:
        return drive(self._listen(self._deadline()), self._ask).scan(prefix)

    def purge(self) -> int:
        return 0 if self._client.sends else self._client.mailbox.purge()

    # -- groups, which this process keeps for itself --------------------------------------

    def put_group(self, group_id: str, task_ids: Sequence[str], *, expires: float | None) -> None:
        self.put_group_tree(group_id, tree_of(group_id, task_ids), expires=expires)

    def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        self._client.mailbox.put_group(group_id, tree, expires)

    def get_group(self, group_id: str) -> list[str] | None:
        tree = self.get_group_tree(group_id)
        return None if tree is None else members_of(tree)

    def get_group_tree(self, group_id: str) -> Tree | None:
        return self._client.mailbox.get_group(group_id)

    def delete_group(self, group_id: str) -> bool:
        return self._client.mailbox.delete_group(group_id)

    def checkup(self) -> Checkup:
        from .checkup import RPCCheckup  # noqa: PLC0415 - only for the doctor

        return RPCCheckup(self._client.settings)

    def close(self) -> None:
        forks.check()
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.release()


class MailBell(LocalBell):
    """Rings for messages."""

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__()
        self._mailbox = mailbox

    @property
    def pushing(self) -> bool:
        return self._mailbox.live
