"""
The messages on their way to the broker, and the channel that they take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import pika

from coatcheck.plugin import monotonic

from .errors import Unroutable, too_large
from .mailbox import Mailbox
from .messages import Mail
from .outcome import Outcome

if TYPE_CHECKING:
    from pika.adapters.select_connection import IOLoop

    from .line import Line

#: Seconds before a message is sent again to a queue that did not exist, or did not take it.
AGAIN: Final = 0.05
#: The bytes that take their way over a slow network in a second.
SLOW: Final = 1_000_000


class Post:
    """
    One message to send. `done` tells whether it became the record if this process is the reader; for another
    reader it is `True` once the broker has the message.
    """

    __slots__ = (
        "body", "done", "mailbox", "properties", "queue", "returned", "sent", "task_id", "token",
    )  # fmt: skip

    def __init__(
        self, queue: str, mail: Mail, properties: pika.BasicProperties, mailbox: Mailbox | None
    ) -> None:
        self.queue = queue
        self.task_id = mail.task_id
        self.body = mail.body
        self.token = mail.token
        self.properties = properties
        #: The mailbox where it must arrive, if this process reads it.
        self.mailbox = mailbox
        self.returned = False
        #: The monotonic time when it was sent.
        self.sent = 0.0
        self.done: Outcome[bool] = Outcome()


class Outbox:
    """
    Sends messages, and sends them again until they are settled. Used by the thread of a session.
    """

    def __init__(self, line: Line, loop: IOLoop) -> None:
        self._line = line
        self._loop = loop
        self._connection: Any = None
        self._channel: Any = None
        self._posts: dict[str, Post] = {}
        self._unconfirmed: dict[int, Post] = {}
        self._sent = 0

    def __len__(self) -> int:
        return len(self._posts)

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent now."""
        return self._channel is not None

    def open(self, connection: Any, ready: Callable[[], object]) -> None:
        """Open a channel of *connection*, call *ready*, and send all messages."""
        self._connection = connection

        def opened(channel: Any) -> None:
            channel.add_on_close_callback(
                lambda channel, error: self._closed(channel, error, ready)
            )
            channel.add_on_return_callback(self._returned)
            channel.confirm_delivery(self._confirmed, callback=lambda _: confirming(channel))

        def confirming(channel: Any) -> None:
            self._channel, self._sent = channel, 0
            ready()
            for post in list(self._posts.values()):
                self._publish(post)

        connection.channel(on_open_callback=opened)

    def _closed(self, channel: Any, error: BaseException, ready: Callable[[], object]) -> None:
        if self._channel is channel:
            self._channel = None
        self._unconfirmed.clear()
        connection = self._connection
        if connection is None or not connection.is_open:
            return
        large = too_large(error)
        if large is None:
            self._line.error = error
        else:
            for post in [p for p in self._posts.values() if len(p.body) >= large.size]:
                del self._posts[post.token]
                post.done.fail(large)

        def again() -> None:
            if self._connection is connection and connection.is_open:
                self.open(connection, ready)

        self._loop.call_later(AGAIN, again)

    def lose(self) -> None:
        """Note that the connection was lost."""
        self._connection = self._channel = None
        self._unconfirmed.clear()

    # -- messages -------------------------------------------------------------------------

    def add(self, post: Post) -> None:
        """Send a message, now or when there is a channel."""
        self._posts[post.token] = post
        if self._channel is not None:
            self._publish(post)

    def arrived(self, token: str, *, won: bool) -> None:
        """Note that the message with *token* arrived in this process."""
        post = self._posts.pop(token, None)
        if post is not None:
            post.done.succeed(won)

    def fail(self, error: BaseException) -> None:
        """Give up all messages."""
        posts, self._posts = self._posts, {}
        for post in posts.values():
            post.done.fail(error)

    def sweep(self) -> None:
        """Drop the messages that nobody waits for."""
        for token in [token for token, post in self._posts.items() if post.done.is_cancelled]:
            del self._posts[token]

    def is_overdue(self, heard: float, patience: float) -> bool:
        """
        Return whether a broker that was last *heard* then has had messages to confirm for too long. Large ones
        get more time than *patience*.
        """
        posts = self._unconfirmed.values()
        if not posts:
            return False
        since = max(heard, next(iter(posts)).sent)
        return monotonic() - since > patience + sum(len(post.body) for post in posts) / SLOW

    def _publish(self, post: Post) -> None:
        if post.done.is_cancelled:
            self._posts.pop(post.token, None)
            return
        post.returned = False
        post.sent = monotonic()
        self._sent += 1
        self._unconfirmed[self._sent] = post
        self._channel.basic_publish("", post.queue, post.body, post.properties, mandatory=True)

    def _publish_later(self, post: Post) -> None:
        def publish() -> None:
            if post.token in self._posts and self._channel is not None:
                self._publish(post)

        self._loop.call_later(AGAIN, publish)

    def _returned(self, _channel: object, _method: object, properties: Any, _body: object) -> None:
        post = self._posts.get(properties.message_id)
        if post is not None:
            post.returned = True

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        last = method.delivery_tag
        tags = [tag for tag in self._unconfirmed if tag <= last] if method.multiple else [last]
        taken = isinstance(method, pika.spec.Basic.Ack)
        for tag in tags:
            post = self._unconfirmed.pop(tag, None)
            if post is not None:
                self._settled(post, taken=taken)

    def _settled(self, post: Post, *, taken: bool) -> None:
        if post.token not in self._posts:
            return  # it has arrived
        if post.returned:
            self._line.unroutable[post.queue] = Unroutable(
                f"there is no queue {post.queue!r}: its reader has gone, or has yet to come"
            )
        if post.returned or not taken:
            self._publish_later(post)
        elif post.mailbox is None:
            self._line.unroutable.pop(post.queue, None)
            self.arrived(post.token, won=True)
