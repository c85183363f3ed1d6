"""
A reader of a mailbox, or a sender to the mailbox of another process: messages, records, errors. No I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

from coatcheck import ResultTooLargeError, UnsupportedError
from coatcheck.errors import BackendError, PartlyUnavailableError
from coatcheck.plugin import (
    READY_STATES,
    BaseBackend,
    Codec,
    ResultMeta,
    Unless,
    encoded,
    forks,
)

from .errors import TooLarge, mapped
from .line import line_to
from .mailbox import Mailbox, mailbox_of
from .messages import Mail, hash_of, new_token, properties_of
from .posts import Post
from .settings import Settings


class Client:
    """One client of a line, for either side."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.line = line_to(settings)
        self._mailbox: Mailbox | None = None
        if settings.reply_to is None:
            self._mailbox = mailbox_of(
                settings.address, settings.queue, life=settings.queue_expires
            )

    def __repr__(self) -> str:
        direction = "to" if self.sends else "from"
        return f"<{direction} {self.queue!r} at {self.settings.label}>"

    @property
    def queue(self) -> str:
        """The queue that this client reads or sends to."""
        return self.settings.reply_to or self.mailbox.queue

    @property
    def sends(self) -> bool:
        """Whether another process is the reader."""
        return self._mailbox is None

    @property
    def mailbox(self) -> Mailbox:
        """The records that arrived. Raises `UnsupportedError` for a client that only sends."""
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
        Return the messages to send. All are encoded, by the codec and the limit of *backend*, before any is sent.
        """
        match = None
        if if_match is not None:
            match = hash_of(if_match.version if isinstance(if_match.version, bytes) else b"")
        queue, persistent = self.queue, self.settings.persistent
        posts = []
        for id_, meta in items:
            body = encoded(meta, backend.codec, backend.max_value_bytes)
            mail = Mail(id_, body, unless, match, expires, new_token())
            properties = properties_of(mail, backend.codec, persistent=persistent)
            posts.append(Post(queue, mail, properties, self._mailbox))
        return posts

    def write_failed(self, error: BaseException, task_id: str) -> NoReturn:
        """Raise ours for *error*, which kept the record of *task_id* from being stored."""
        if isinstance(error, TooLarge):
            raise ResultTooLargeError(task_id, size=error.size, limit=error.limit) from error
        raise self.error(error, writing=True) from error

    # -- receiving ------------------------------------------------------------------------

    def metas(self, found: Mapping[str, bytes], codec: Codec) -> dict[str, ResultMeta]:
        """Decode the records *found*."""
        return {id_: codec.decode(id_, body) for id_, body in found.items()}

    def known(self, ids: Collection[str], codec: Codec) -> dict[str, ResultMeta] | None:
        """Return the records, or `None` if messages on their way may change them."""
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
        """Raise ours for *error*, with the records of *ids* that arrived before it."""
        ours = self.error(error, writing=False)
        found = self.metas(self.mailbox.get(ids), codec)
        if found and len(found) < len(set(ids)):
            unread = set(ids) - found.keys()
            raise PartlyUnavailableError(str(ours), found=found, unread=unread) from error
        raise ours from error

    # -- errors ---------------------------------------------------------------------------

    def error(self, error: BaseException, *, writing: bool) -> BackendError:
        """Return ours for *error*."""
        return mapped(error, self.settings.label, queue=self.queue, writing=writing)

    def why(self, *, writing: bool) -> BaseException:
        """Return the reason why nothing comes through now."""
        return self.line.why(self.queue, writing=writing)

    @property
    def trouble(self) -> BackendError | None:
        """Ours for the reason why there is no connection now."""
        error = self.line.error
        return None if error is None else self.error(error, writing=False)
