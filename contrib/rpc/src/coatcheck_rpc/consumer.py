"""
The consumer of one mailbox: the channel that brings its messages.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .errors import is_refused
from .mailbox import Mailbox
from .messages import mail_of
from .outcome import Outcome
from .posts import Outbox

if TYPE_CHECKING:
    from pika.adapters.select_connection import IOLoop

    from .line import Line

_logger = logging.getLogger("coatcheck")

#: Seconds before a queue that could not be read is tried again.
AGAIN: Final = 0.2


class Consumer:
    """Takes messages into a mailbox. Used by the thread of a session."""

    def __init__(self, mailbox: Mailbox, line: Line, loop: IOLoop, outbox: Outbox) -> None:
        self.mailbox = mailbox
        #: Told when messages arrive from now on, or why not.
        self.waiting: list[Outcome[None]] = []
        self._line = line
        self._loop = loop
        self._outbox = outbox
        self._connection: Any = None
        self._channel: Any = None
        self._ended = False

    def wait(self, live: Outcome[None]) -> None:
        """Tell *live* when messages arrive."""
        self.waiting.append(live)
        if self.mailbox.live:
            self._opened()

    def open(self, connection: Any) -> None:
        """Consume the queue over a channel of *connection*, unless that goes on already."""
        if self._channel is None and not self._ended and connection.is_open:
            self._connection = connection
            self._channel = connection.channel(on_open_callback=self._declare)

    def lose(self) -> None:
        """Note that nothing arrives for now."""
        self.mailbox.live = False
        self._channel = self._connection = None

    def close(self) -> None:
        """Stop consuming."""
        self._ended = True
        channel = self._channel
        self.lose()
        if channel is not None and channel.is_open:
            channel.close()

    def fail(self, error: BaseException) -> None:
        """Tell everybody who waits that nothing will arrive."""
        waiting, self.waiting = self.waiting, []
        for live in waiting:
            live.fail(error)

    def _opened(self) -> None:
        self.mailbox.live = True
        waiting, self.waiting = self.waiting, []
        for live in waiting:
            live.succeed(None)

    def _declare(self, channel: Any) -> None:
        channel.add_on_close_callback(self._closed)
        channel.add_on_cancel_callback(lambda _: channel.close())
        channel.queue_declare(
            self.mailbox.queue,
            durable=True,
            auto_delete=True,
            arguments={"x-expires": int(self.mailbox.life * 1000)},
            callback=partial(self._consume, channel),
        )

    def _consume(self, channel: Any, declared: Any) -> None:
        backlog = deque([None] * declared.method.message_count)

        def delivered(_channel: object, _method: object, properties: Any, body: bytes) -> None:
            try:
                self._deliver(properties, body)
            except Exception:
                # Otherwise the driver would close the connection, and the queue would go with it.
                _logger.exception("%s: a message is dropped", self._line.label)
            if backlog:
                backlog.pop()
                if not backlog:
                    self._opened()

        def consuming(_: object) -> None:
            if not backlog:
                self._opened()

        channel.basic_consume(
            self.mailbox.queue, delivered, auto_ack=True, exclusive=True, callback=consuming
        )

    def _deliver(self, properties: Any, body: bytes) -> None:
        mail = mail_of(properties, body, life=self.mailbox.life)
        if mail is None:
            _logger.warning(
                "%s: a message on %r names no task: dropped", self._line.label, self.mailbox.queue
            )
            return
        self._outbox.arrived(mail.token, won=self.mailbox.arrive(mail))

    def _closed(self, channel: Any, error: BaseException) -> None:
        connection = self._connection
        if self._channel is channel:
            self.lose()
        if self._ended or connection is None or not connection.is_open:
            return
        self._line.unreadable[self.mailbox.queue] = error
        if is_refused(error):
            self.fail(error)
        self._loop.call_later(AGAIN, partial(self.open, connection))
