"""
The line to a broker: one connection of this process for all its clients, sync and asyncio.

A thread of its own keeps the connection: replies arrive whenever they are sent, and are taken in for
whoever asks for them later, also while no client does anything.
"""

from __future__ import annotations

import itertools
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection

from coatcheck.plugin import Backoff, forks, monotonic, start

from .errors import Blocked, Silent, Unroutable, is_refused, text_of, too_large
from .mailbox import Mailbox
from .messages import Mail, mail_of
from .outcome import Outcome
from .settings import Settings

_logger = logging.getLogger("coatcheck")

#: Seconds before the first try to connect again, and at most.
PAUSES: Final = (0.02, 1.0)
#: Seconds before a message is sent again to a queue that was not there, or was not taken.
AGAIN: Final = 0.05
#: Seconds between two looks at clients that went without closing.
TICK: Final = 0.5
#: Seconds that a try to connect takes at most.
CONNECTING: Final = 5.0
#: Seconds for a broker to confirm that a connection ends.
PATIENCE: Final = 2.0
#: How many times `heartbeat` a broker may be silent, which sends two of them in that time.
HEARTBEATS: Final = 1.5
#: What part of an operation's time a broker may be silent that has a message to confirm; and how many bytes
#: a second take their way over a slow line meanwhile.
CONFIRMING: Final = 0.5
SLOW: Final = 1_000_000


_THREAD: Final = "rabbitmq-line"


def _is_not_ours(record: logging.LogRecord) -> bool:
    return record.threadName != _THREAD


# pika logs each try to connect in ten lines of errors. What comes of it here is said once, by us;
# what the application does with pika by itself is not touched.
for _name in [name for name in logging.Logger.manager.loggerDict if name.startswith("pika.")]:
    logging.getLogger(_name).addFilter(_is_not_ours)


class Post:
    """
    One message to send. `done` has whether it is the record, where the reader is this process, and
    `True` where it has been handed over to the broker for another one.
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
        #: Where it is to arrive, if that is here.
        self.mailbox = mailbox
        self.returned = False
        #: When, by the monotonic clock.
        self.sent = 0.0
        self.done: Outcome[bool] = Outcome()

    def finish(self, *, won: bool) -> None:
        """
        Say how it ended, unless nobody waits for it any more.
        """
        self.done.succeed(won)

    def fail(self, error: BaseException) -> None:
        """
        Say why it was not sent.
        """
        self.done.fail(error)


class Reader:
    """
    The consumer of one mailbox.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.channel: Any = None
        self.waiting: list[Outcome[None]] = []

    def opened(self) -> None:
        """
        Tell those who wait that what is sent arrives from now on.
        """
        self.mailbox.live = True
        self._tell(lambda live: live.succeed(None))

    def failed(self, error: BaseException) -> None:
        """
        Tell them that it will not.
        """
        self._tell(lambda live: live.fail(error))

    def _tell(self, say: Callable[[Outcome[None]], object]) -> None:
        waiting, self.waiting = self.waiting, []
        for live in waiting:
            say(live)

    def lost(self) -> None:
        """
        Take in that nothing arrives for now.
        """
        self.mailbox.live = False
        self.channel = None


class Session:
    """
    One thread, and the connection that it keeps while anybody needs one. Its methods run in that
    thread, but for `call`.
    """

    def __init__(self, line: Line, settings: Settings) -> None:
        self._line = line
        self._settings = settings
        self._loop = IOLoop()
        self._connection: Any = None
        self._channel: Any = None
        self._posts: dict[str, Post] = {}
        self._unconfirmed: dict[int, Post] = {}
        self._sent = 0
        #: How many bytes have come by the connection, and when the last of them did.
        self._received = 0
        self._heard = 0.0
        self._readers: dict[Mailbox, Reader] = {}
        self._node = 0
        self._backoff = Backoff(*PAUSES)
        self._retry: Any = None
        self._ending = False
        # Not named as the threads of waits are: it lasts as long as the connection.
        self.thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)

    def start(self) -> None:
        """
        Start the thread. For any thread.
        """
        try:
            start(self.thread)
        except BaseException:
            self._loop.close()
            raise

    def call(self, act: Callable[[], object]) -> None:
        """
        Have *act* called in the thread. For any thread.
        """
        self._loop.add_callback_threadsafe(act)

    def _run(self) -> None:
        try:
            self._tick()
            self._loop.start()
        except Exception as error:
            _logger.exception("%s: the line broke, and is made anew", self._settings.label)
            self._line.broke(self, error)
            self.hang_up()
            for reader in self._readers.values():
                reader.lost()
            self._fail_all(error)
        finally:
            self._loop.close()

    def _tick(self) -> None:
        self._line.forget_lost()
        for token in [token for token, post in self._posts.items() if post.done.is_cancelled]:
            del self._posts[token]
        self.settle()
        self._listen()
        if not self._ending:
            self._loop.call_later(TICK, self._tick)

    def _listen(self) -> None:
        """
        Give up a connection by which nothing comes any more: what is between may have forgotten it,
        and tell neither side. Who is to be told of a message hears it then by the next connection.
        """
        connection = self._connection
        if connection is None or not connection.is_open:
            return
        now = monotonic()
        if connection.bytes_received != self._received:
            self._received, self._heard = connection.bytes_received, now
        silent = now - self._heard
        heartbeat = connection.params.heartbeat
        if self._waits_in_vain(now) or (heartbeat and silent > HEARTBEATS * heartbeat):
            error = Silent(f"the broker has said nothing for {silent:.0f} s")
            connection._terminate_stream(error)  # noqa: SLF001 - as the driver's own heartbeats do

    def _waits_in_vain(self, now: float) -> bool:
        """
        Whether the broker was silent for too long, since it was sent the messages it is to confirm.
        """
        posts = self._unconfirmed.values()
        if not posts or isinstance(self._line.error, Blocked):
            return False
        since = max(self._heard, next(iter(posts)).sent)
        patience = CONFIRMING * self._settings.operation_timeout
        return now - since > patience + sum(len(post.body) for post in posts) / SLOW

    def hang_up(self) -> None:
        """
        Close the connection without a word: in a forked child it is the parent's.
        """
        transport = getattr(self._connection, "_transport", None)
        sock = getattr(transport, "_sock", None)
        if sock is not None:
            sock.close()

    # -- what is asked for ----------------------------------------------------------------

    def post(self, posts: Iterable[Post]) -> None:
        """
        Send, now or when there is a connection.
        """
        if self._ending:
            self._line.send(list(posts))
            return
        for post in posts:
            self._posts[post.token] = post
            if self._channel is not None:
                self._publish(post)
        self._connect()

    def read(self, mailbox: Mailbox, live: Outcome[None] | None = None) -> None:
        """
        Consume the queue of *mailbox*; *live* is told when what is sent to it arrives.
        """
        if self._ending:
            self._line.call(lambda session: session.read(mailbox, live))
            return
        reader = self._readers.get(mailbox)
        if reader is None:
            reader = self._readers[mailbox] = Reader(mailbox)
        if live is not None:
            reader.waiting.append(live)
        if mailbox.live:
            reader.opened()
        elif self._channel is not None and reader.channel is None:
            self._open(reader)
        self._connect()

    def settle(self) -> None:
        """
        Give up what nobody needs: consumers, and at last the connection and the thread.
        """
        needed = self._line.needed()
        for mailbox in [mailbox for mailbox in self._readers if mailbox not in needed]:
            reader = self._readers.pop(mailbox)
            channel = reader.channel
            reader.lost()
            if channel is not None and channel.is_open:
                channel.close()
        busy = self._posts or any(reader.waiting for reader in self._readers.values())
        if not self._ending and not busy and self._line.ends(self):
            self._ending = True
            connection = self._connection
            if connection is None:
                self._loop.stop()
                return
            self._loop.call_later(PATIENCE, self._loop.stop)
            if not connection.is_closing:
                connection.close()

    # -- connecting -----------------------------------------------------------------------

    def _connect(self) -> None:
        if self._connection is not None or self._retry is not None or self._ending:
            return
        try:
            parameters = self._parameters()
        except OSError as error:  # certificates that cannot be read
            self._failed(None, error)
            return
        self._connection = SelectConnection(
            parameters,
            on_open_callback=self._opened,
            on_open_error_callback=self._failed,
            on_close_callback=self._closed,
            custom_ioloop=self._loop,
        )

    def _parameters(self) -> pika.ConnectionParameters:
        settings = self._settings
        host, port = settings.nodes[self._node % len(settings.nodes)]
        context = settings.ssl_context()
        # A broker that is starting may take a connection and leave it alone.
        patience = min(max(settings.operation_timeout, 1.0), CONNECTING)
        return pika.ConnectionParameters(
            host=host,
            port=port,
            virtual_host=settings.virtual_host,
            credentials=pika.PlainCredentials(settings.user, settings.password),
            heartbeat=settings.heartbeat,
            connection_attempts=1,
            socket_timeout=patience,
            stack_timeout=patience,
            ssl_options=None if context is None else pika.SSLOptions(context, host),
            client_properties={"connection_name": "coatcheck"},
        )

    def _opened(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(self._blocked)
        connection.add_on_connection_unblocked_callback(self._unblocked)
        self._received, self._heard = connection.bytes_received, monotonic()
        self._open_channel()

    def _open_channel(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._ready(channel))

    def _ready(self, channel: Any) -> None:
        self._channel, self._sent = channel, 0
        self._backoff.worked()
        self._line.error = None
        for reader in self._readers.values():
            if reader.channel is None:
                self._open(reader)
        for post in list(self._posts.values()):
            self._publish(post)

    def _failed(self, _: object, error: BaseException) -> None:
        """
        Take in that there is no connection.
        """
        self._lose(error)
        self._node += 1
        if is_refused(error):
            self._fail_all(error)
        self._connect_later()

    def _closed(self, _: object, error: BaseException) -> None:
        """
        Take in that there is no connection any more.
        """
        self._lose(error)
        self._connect_later()

    def _lose(self, error: BaseException) -> None:
        self._connection = self._channel = None
        self._unconfirmed.clear()
        for reader in self._readers.values():
            reader.lost()
        if self._ending:
            self._loop.stop()
            return
        self._line.error = error
        _logger.info("%s: no connection: %s", self._settings.label, text_of(error))

    def _connect_later(self) -> None:
        if self._ending or self._retry is not None or not (self._readers or self._posts):
            return
        self._retry = self._loop.call_later(self._backoff.failed(), self._connect_again)

    def _connect_again(self) -> None:
        self._retry = None
        self._connect()

    def _fail_all(self, error: BaseException) -> None:
        posts, self._posts = self._posts, {}
        for post in posts.values():
            post.fail(error)
        for reader in self._readers.values():
            reader.failed(error)

    def _blocked(self, _: object, frame: Any) -> None:
        reason = getattr(frame.method, "reason", "")
        self._line.error = Blocked(f"the broker has blocked who sends to it: {reason}")

    def _unblocked(self, *_: object) -> None:
        self._line.error = None

    # -- sending --------------------------------------------------------------------------

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
            del self._posts[post.token]
            post.finish(won=True)

    def _channel_closed(self, channel: Any, error: BaseException) -> None:
        if self._channel is channel:
            self._channel = None
        self._unconfirmed.clear()
        if self._connection is None or not self._connection.is_open or self._ending:
            return
        large = too_large(error)
        if large is not None:
            for post in [p for p in self._posts.values() if len(p.body) >= large.size]:
                del self._posts[post.token]
                post.fail(large)
        else:
            self._line.error = error
        self._loop.call_later(AGAIN, self._open_channel)

    # -- receiving ------------------------------------------------------------------------

    def _open(self, reader: Reader) -> None:
        if self._connection is None or not self._connection.is_open:
            return
        reader.channel = self._connection.channel(on_open_callback=partial(self._declare, reader))

    def _declare(self, reader: Reader, channel: Any) -> None:
        channel.add_on_close_callback(partial(self._reader_closed, reader))
        channel.add_on_cancel_callback(lambda _: channel.close())
        mailbox = reader.mailbox
        channel.queue_declare(
            mailbox.queue,
            durable=True,
            auto_delete=True,
            arguments={"x-expires": int(mailbox.life * 1000)},
            callback=partial(self._consume, reader, channel),
        )

    def _consume(self, reader: Reader, channel: Any, declared: Any) -> None:
        backlog = deque([None] * declared.method.message_count)

        def arrived(_channel: object, _method: object, properties: Any, body: bytes) -> None:
            try:
                self._arrived(reader.mailbox, properties, body)
            except Exception:
                # Else the driver would take the connection for lost, and the queue would be.
                _logger.exception("%s: a message is dropped", self._settings.label)
            if backlog:
                backlog.pop()
                if not backlog:
                    reader.opened()

        def consuming(_: object) -> None:
            if not backlog:
                reader.opened()

        channel.basic_consume(
            reader.mailbox.queue, arrived, auto_ack=True, exclusive=True, callback=consuming
        )

    def _arrived(self, mailbox: Mailbox, properties: Any, body: bytes) -> None:
        mail = mail_of(properties, body, life=mailbox.life)
        if mail is None:
            _logger.warning(
                "%s: a message on %r names no task: dropped", self._settings.label, mailbox.queue
            )
            return
        won = mailbox.arrive(mail)
        post = self._posts.pop(mail.token, None)
        if post is not None:
            post.finish(won=won)

    def _reader_closed(self, reader: Reader, channel: Any, error: BaseException) -> None:
        if reader.channel is channel:
            reader.lost()
        if self._connection is None or not self._connection.is_open or self._ending:
            return
        if reader.mailbox not in self._readers:
            return
        self._line.unreadable[reader.mailbox.queue] = error
        if is_refused(error):
            reader.failed(error)
        self._loop.call_later(4 * AGAIN, partial(self._open_again, reader))

    def _open_again(self, reader: Reader) -> None:
        if self._readers.get(reader.mailbox) is reader and reader.channel is None:
            self._open(reader)


class Line:
    """
    What all clients of one broker in this process share. For any thread; a forked child begins
    anew.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._holds: dict[int, Mailbox | None] = {}
        # By clients that went without closing: finalizers may run anywhere, and take no lock.
        self._lost: deque[int] = deque()
        #: Why there is no connection just now, or nothing can be sent by it.
        self.error: BaseException | None = None
        #: The same, of single queues.
        self.unroutable: dict[str, BaseException] = {}
        self.unreadable: dict[str, BaseException] = {}
        forks.register(self)

    def after_fork(self) -> None:
        session, self._session = self._session, None
        self._lock = threading.Lock()
        self._holds.clear()
        self.error = None
        self.unroutable.clear()
        self.unreadable.clear()
        if session is not None:
            _inherited.append(session)
            session.hang_up()

    # -- who needs it ---------------------------------------------------------------------

    def hold(self, hold: Hold) -> None:
        """
        Keep the connection, and the consumer of the mailbox, for as long as *hold* is there.
        """
        forks.check()
        with self._lock:
            self._holds[hold.number] = hold.mailbox

    def release(self, number: int) -> None:
        """
        End a hold.
        """
        forks.check()
        with self._lock:
            if number not in self._holds:
                return
            del self._holds[number]
            session = self._session
        if session is not None:
            session.call(session.settle)

    def lost(self, number: int) -> None:
        """
        End a hold that was dropped. From a finalizer.
        """
        self._lost.append(number)

    def forget_lost(self) -> None:
        """
        Take in which holds were dropped.
        """
        while self._lost:
            number = self._lost.popleft()
            with self._lock:
                self._holds.pop(number, None)

    def needed(self) -> set[Mailbox]:
        """
        Return the mailboxes that are held.
        """
        with self._lock:
            return {mailbox for mailbox in self._holds.values() if mailbox is not None}

    def ends(self, session: Session) -> bool:
        """
        Whether nobody needs *session*; the next client makes another one.
        """
        with self._lock:
            if self._session is not session:  # it was interrupted while it began
                return True
            if self._holds:
                return False
            self._session = None
            return True

    def broke(self, session: Session, error: Exception) -> None:
        """
        Take in that *session* has ended by a mistake; who comes next makes another one.
        """
        with self._lock:
            if self._session is session:
                self._session = None
        self.error = error

    # -- what it does ---------------------------------------------------------------------

    def call(self, act: Callable[[Session], object]) -> None:
        """
        Have *act* called in the thread of a session.
        """
        forks.check()
        with self._lock:
            session = self._session
            if session is None:
                session = Session(self, self._settings)
                session.start()
                self._session = session
            session.call(partial(act, session))

    def send(self, posts: Sequence[Post]) -> None:
        """
        Send; each post says itself when it is done.
        """
        self.call(lambda session: session.post(posts))

    def listen(self, mailbox: Mailbox) -> Outcome[None]:
        """
        Consume the queue of *mailbox*. The outcome comes when what is sent arrives.
        """
        live: Outcome[None] = Outcome()
        self.call(lambda session: session.read(mailbox, live))
        return live

    def why(self, queue: str, *, writing: bool) -> BaseException:
        """
        Return why *queue* cannot be written to, or read, just now.
        """
        of_queue = self.unroutable if writing else self.unreadable
        return (
            self.error or of_queue.get(queue) or TimeoutError("the broker did not answer in time")
        )


_numbers: Final = itertools.count()


class Hold:
    """
    That a client needs the line; until `release`, or until it is dropped.
    """

    def __init__(self, line: Line, mailbox: Mailbox | None) -> None:
        self.mailbox = mailbox
        self.number = next(_numbers)
        self._line = line
        # First, so that a hold is lost to no signal handler that raises.
        self._finalizer = weakref.finalize(self, line.lost, self.number)
        self._finalizer.atexit = False
        line.hold(self)

    def release(self) -> None:
        """
        End it.
        """
        self._line.release(self.number)
        self._finalizer.detach()  # last, for the same reason


#: What a forked child must not close: it is the parent's.
_inherited: list[Session] = []


class _Registry:
    """
    The lines of this process, by broker.
    """

    def __init__(self) -> None:
        self._lines: dict[object, Line] = {}
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, settings: Settings) -> Line:
        forks.check()
        with self._lock:
            if settings.address not in self._lines:
                self._lines[settings.address] = Line(settings)
            return self._lines[settings.address]


line_to: Final[Callable[[Settings], Line]] = _Registry()


def left(deadline: float) -> float:
    """
    Return the seconds until *deadline*, none if it has passed.
    """
    return max(deadline - monotonic(), 0.0)
