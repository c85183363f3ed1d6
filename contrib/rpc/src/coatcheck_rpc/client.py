"""
What the backends of both colours have in common: what is sent, what was found, what is wrong. No I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NoReturn

from coatcheck import Capability, ResultTooLargeError, UnsupportedError
from coatcheck.errors import BackendError, PartlyUnavailableError
from coatcheck.plugin import (
    READY_STATES,
    BaseBackend,
    Codec,
    ResultMeta,
    Tree,
    Unless,
    encoded,
    forks,
)

from .errors import TooLarge, mapped
from .line import Post, line_to
from .mailbox import Mailbox, mailbox_of
from .messages import Mail, hash_of, new_token, properties_of
from .settings import Settings

CAPABILITIES: Final = Capability.PUSH | Capability.TTL | Capability.SCAN
#: What RabbitMQ takes where it is not told otherwise, in bytes; newer ones take less, and say so.
LIMIT: Final = 128 * 1024 * 1024


class Client:
    """
    A reader with its mailbox, or one who sends to the mailbox of another process.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.line = line_to(settings)
        self._mailbox: Mailbox | None = None
        if settings.reply_to is None:
            self._mailbox = mailbox_of(
                settings.address, settings.queue, life=settings.queue_expires
            )

    def __repr__(self) -> str:
        what = "from" if self._mailbox is not None else "to"
        return f"<{what} {self.queue!r} at {self.settings.label}>"

    @property
    def queue(self) -> str:
        """
        The queue that is read, or sent to.
        """
        return self.settings.reply_to or self.mailbox.queue

    @property
    def sends(self) -> bool:
        """
        Whether another process is the reader.
        """
        return self._mailbox is None

    @property
    def mailbox(self) -> Mailbox:
        """
        What arrived. Raises `UnsupportedError` where that is another process's matter.
        """
        forks.check()
        if self._mailbox is None:
            raise UnsupportedError(
                f"this client sends to the queue {self.settings.reply_to!r}, which another process "
                "reads, and cannot look into it; leave reply_to= out where results are read"
            )
        return self._mailbox

    # -- sending --------------------------------------------------------------------------

    def posts(
        self,
        items: Sequence[tuple[str, ResultMeta]],
        backend: BaseBackend[Any],
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> list[Post]:
        """
        Return the messages to send, by codec and limit of *backend*; all are encoded before any
        is sent.
        """
        match = None if if_match is None else _hash_of_version(if_match)
        queue, persistent = self.queue, self.settings.persistent
        posts = []
        for id_, meta in items:
            body = encoded(meta, backend.codec, backend.max_value_bytes)
            mail = Mail(id_, body, unless, match, expires, new_token())
            properties = properties_of(mail, backend.codec, persistent=persistent)
            posts.append(Post(queue, mail, properties, self._mailbox))
        return posts

    def write_failed(self, error: BaseException, task_id: str) -> NoReturn:
        """
        Raise what *error* means to who stored the record of *task_id*.
        """
        if isinstance(error, TooLarge):
            raise ResultTooLargeError(task_id, size=error.size, limit=error.limit) from error
        raise mapped(error, self.settings.label, queue=self.queue, writing=True) from error

    # -- receiving ------------------------------------------------------------------------

    def metas(self, found: Mapping[str, bytes], codec: Codec) -> dict[str, ResultMeta]:
        """
        Return the records that were *found*.
        """
        return {id_: codec.decode(id_, body) for id_, body in found.items()}

    def known(self, ids: Collection[str], codec: Codec) -> dict[str, ResultMeta] | None:
        """
        Return the records, if nothing that is still on its way could make them others.
        """
        mailbox = self.mailbox
        found = mailbox.get(ids)
        if not mailbox.live:
            ready = len(found) == len(set(ids)) and all(
                codec.state_of(body) in READY_STATES for body in found.values()
            )
            if not ready:
                return None
        return self.metas(found, codec)

    def read_failed(self, error: BaseException, ids: Collection[str], codec: Codec) -> NoReturn:
        """
        Raise what *error* means to who reads the records of *ids*: what arrived can be read.
        """
        ours = self.error(error, writing=False)
        found = self.metas(self.mailbox.get(ids), codec)
        if found and len(found) < len(set(ids)):
            unread = set(ids) - found.keys()
            raise PartlyUnavailableError(str(ours), found=found, unread=unread) from error
        raise ours from error

    def error(self, error: BaseException, *, writing: bool) -> BackendError:
        """
        Return ours for *error*.
        """
        return mapped(error, self.settings.label, queue=self.queue, writing=writing)

    def why(self, *, writing: bool) -> BaseException:
        """
        Return why nothing comes through just now.
        """
        # Of who reads, too, a message may not have been taken.
        return self.line.why(self.queue, writing=writing)

    @property
    def trouble(self) -> BackendError | None:
        """
        See `coatcheck.Backend.trouble`.
        """
        error = self.line.error
        return None if error is None else self.error(error, writing=False)

    # -- groups ---------------------------------------------------------------------------

    def put_group(self, group_id: str, tree: Tree, expires: float | None) -> None:
        """
        Keep a group, in this process.
        """
        self.mailbox.put_group(group_id, tree, expires)


def _hash_of_version(meta: ResultMeta) -> str:
    version: Any = meta.version
    return hash_of(version if isinstance(version, bytes) else b"")
