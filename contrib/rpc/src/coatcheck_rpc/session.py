"""
One connection to a broker, and the thread that keeps it.

Replies arrive whenever they are sent. The thread takes them in even if no client does anything.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection

from coatcheck.plugin import Backoff, monotonic, start

from .consumer import Consumer
from .errors import Blocked, Silent, is_refused, text_of
from .mailbox import Mailbox
from .outcome import Outcome
from .posts import Outbox, Post
from .settings import Settings

if TYPE_CHECKING:
    from .line import Line

_logger = logging.getLogger("coatcheck")

#: Seconds before the first try to connect again, and at most.
PAUSES: Final = (0.02, 1.0)
#: Seconds between two checks of the connection and of clients that went without closing.
TICK: Final = 0.5
#: Seconds that a try to connect takes at most.
CONNECTING: Final = 5.0
#: Seconds for a broker to confirm that a connection ends.
PATIENCE: Final = 2.0
#: A broker sends two heartbeats in each period; after this many silent periods the connection is lost.
HEARTBEATS: Final = 1.5
#: The part of an operation's time for which a broker may be silent that has a message to confirm.
CONFIRMING: Final = 0.5

_THREAD: Final = "rabbitmq-line"


def _is_not_ours(record: logging.LogRecord) -> bool:
    return record.threadName != _THREAD


# pika logs each try to connect in ten lines of errors. For our thread we log the outcome once; the application's
# own use of pika is not touched.
for _name in [name for name in logging.Logger.manager.loggerDict if name.startswith("pika.")]:
    logging.getLogger(_name).addFilter(_is_not_ours)


class Session:
    """
    Keeps a connection while anybody needs one. Except for `start` and `call`, methods run in its thread.
    """

    def __init__(self, line: Line, settings: Settings) -> None:
        self._line = line
        self._settings = settings
        self._loop = IOLoop()
        self._connection: Any = None
        self._outbox = Outbox(line, self._loop)
        self._consumers: dict[Mailbox, Consumer] = {}
        #: How many bytes the connection has received, and when it received the last ones.
        self._received = 0
        self._heard = 0.0
        self._node = 0
        self._backoff = Backoff(*PAUSES)
        self._retry: Any = None
        self._ending = False
        # Not named like the threads of waits: it lasts as long as the connection.
        self.thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)

    def start(self) -> None:
        """Start the thread. For any thread."""
        try:
            start(self.thread)
        except BaseException:
            self._loop.close()
            raise

    def call(self, act: Callable[[], object]) -> None:
        """Call *act* in the thread. For any thread."""
        self._loop.add_callback_threadsafe(act)

    def _run(self) -> None:
        try:
            self._tick()
            self._loop.start()
        except Exception as error:
            _logger.exception(
                "%s: the line broke; the next operation opens another", self._line.label
            )
            self._line.broke(self, error)
            self.hang_up()
            for consumer in self._consumers.values():
                consumer.lose()
            self._fail_all(error)
        finally:
            self._loop.close()

    def _tick(self) -> None:
        self._line.forget_lost()
        self._outbox.sweep()
        self.settle()
        self._check_silence()
        if not self._ending:
            self._loop.call_later(TICK, self._tick)

    def _check_silence(self) -> None:
        """
        Give up a connection that went silent: a router may have forgotten it without telling either side. Messages
        then take the next connection.
        """
        connection = self._connection
        if connection is None or not connection.is_open:
            return
        now = monotonic()
        if connection.bytes_received != self._received:
            self._received, self._heard = connection.bytes_received, now
        silent, heartbeat = now - self._heard, connection.params.heartbeat
        patience = CONFIRMING * self._settings.operation_timeout
        blocked = isinstance(self._line.error, Blocked)
        overdue = not blocked and self._outbox.is_overdue(self._heard, patience)
        if overdue or (heartbeat and silent > HEARTBEATS * heartbeat):
            error = Silent(f"the broker has said nothing for {silent:.0f} s")
            connection._terminate_stream(error)  # noqa: SLF001 - as the driver's own heartbeats do

    def hang_up(self) -> None:
        """Close the socket without a word: in a forked child the connection is the parent's."""
        transport = getattr(self._connection, "_transport", None)
        sock = getattr(transport, "_sock", None)
        if sock is not None:
            sock.close()

    # -- requests -------------------------------------------------------------------------

    def post(self, posts: Iterable[Post]) -> None:
        """Send messages, now or when there is a connection."""
        if self._ending:
            self._line.send(list(posts))
            return
        for post in posts:
            self._outbox.add(post)
        self._connect()

    def read(self, mailbox: Mailbox, live: Outcome[None]) -> None:
        """Consume the queue of *mailbox*, and tell *live* when messages arrive."""
        if self._ending:
            self._line.call(lambda session: session.read(mailbox, live))
            return
        consumer = self._consumers.get(mailbox)
        if consumer is None:
            consumer = Consumer(mailbox, self._line, self._loop, self._outbox)
            self._consumers[mailbox] = consumer
        consumer.wait(live)
        if self._outbox.is_open:
            consumer.open(self._connection)
        self._connect()

    def settle(self) -> None:
        """Give up the consumers that nobody needs, and finally the connection and the thread."""
        needed = self._line.needed()
        for mailbox in [mailbox for mailbox in self._consumers if mailbox not in needed]:
            self._consumers.pop(mailbox).close()
        busy = len(self._outbox) or any(c.waiting for c in self._consumers.values())
        if self._ending or busy or not self._line.ends(self):
            return
        self._ending = True
        if self._connection is None:
            self._loop.stop()
            return
        self._loop.call_later(PATIENCE, self._loop.stop)
        if not self._connection.is_closing:
            self._connection.close()

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
            on_close_callback=self._lost,
            custom_ioloop=self._loop,
        )

    def _parameters(self) -> pika.ConnectionParameters:
        settings = self._settings
        host, port = settings.nodes[self._node % len(settings.nodes)]
        context = settings.ssl_context()
        # A broker that is starting may accept a connection and never answer.
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
        self._outbox.open(connection, self._ready)

    def _ready(self) -> None:
        self._backoff.worked()
        self._line.error = None
        for consumer in self._consumers.values():
            consumer.open(self._connection)

    def _failed(self, connection: object, error: BaseException) -> None:
        self._node += 1
        if is_refused(error):
            self._fail_all(error)
        self._lost(connection, error)

    def _lost(self, _: object, error: BaseException) -> None:
        self._connection = None
        self._outbox.lose()
        for consumer in self._consumers.values():
            consumer.lose()
        if self._ending:
            self._loop.stop()
            return
        self._line.error = error
        _logger.info("%s: no connection: %s", self._line.label, text_of(error))
        if self._retry is None and (self._consumers or len(self._outbox)):
            self._retry = self._loop.call_later(self._backoff.failed(), self._connect_again)

    def _connect_again(self) -> None:
        self._retry = None
        self._connect()

    def _fail_all(self, error: BaseException) -> None:
        self._outbox.fail(error)
        for consumer in self._consumers.values():
            consumer.fail(error)

    def _blocked(self, _: object, frame: Any) -> None:
        reason = getattr(frame.method, "reason", "")
        self._line.error = Blocked(f"the broker has blocked its senders: {reason}")

    def _unblocked(self, *_: object) -> None:
        self._line.error = None
