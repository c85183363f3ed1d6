"""
The line to a broker: one connection of this process for all its clients, on both sides.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from coatcheck.plugin import forks

from .mailbox import Mailbox
from .outcome import Outcome
from .posts import Post
from .registry import Registry
from .session import Session
from .settings import Settings


class Line:
    """
    The connection that all clients of one broker in this process share. For any thread; a forked child begins anew.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        #: The place of the broker, for messages.
        self.label = settings.label
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._holds: dict[int, Mailbox | None] = {}
        # The holds of clients that went without closing. Finalizers may run anywhere, so they take no lock.
        self._lost: deque[int] = deque()
        #: The reason why there is no connection now, or why it sends nothing.
        self.error: BaseException | None = None
        #: The same for single queues.
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

    # -- holds ----------------------------------------------------------------------------

    def hold(self, hold: Hold) -> None:
        """Keep the connection, and the consumer of the mailbox, until the hold ends."""
        forks.check()
        with self._lock:
            self._holds[hold.number] = hold.mailbox

    def release(self, number: int) -> None:
        """End a hold."""
        forks.check()
        with self._lock:
            if number not in self._holds:
                return
            del self._holds[number]
            session = self._session
        if session is not None:
            session.call(session.settle)

    def lost(self, number: int) -> None:
        """End a hold that was dropped. From a finalizer."""
        self._lost.append(number)

    def forget_lost(self) -> None:
        """Forget the holds that were dropped."""
        while self._lost:
            number = self._lost.popleft()
            with self._lock:
                self._holds.pop(number, None)

    def needed(self) -> set[Mailbox]:
        """Return the mailboxes that somebody holds."""
        with self._lock:
            return {mailbox for mailbox in self._holds.values() if mailbox is not None}

    # -- the session ----------------------------------------------------------------------

    def ends(self, session: Session) -> bool:
        """
        Return whether *session* may end because nobody needs it. The next client opens another.
        """
        with self._lock:
            if self._session is not session:  # it was interrupted while it began
                return True
            if self._holds:
                return False
            self._session = None
            return True

    def broke(self, session: Session, error: Exception) -> None:
        """Note that *session* ended by a fault. The next operation opens another."""
        with self._lock:
            if self._session is session:
                self._session = None
        self.error = error

    def call(self, act: Callable[[Session], object]) -> None:
        """Call *act* in the thread of a session."""
        forks.check()
        with self._lock:
            session = self._session
            if session is None:
                session = Session(self, self._settings)
                session.start()
                self._session = session
            session.call(partial(act, session))

    def send(self, posts: Sequence[Post]) -> None:
        """Send messages. Each tells itself when it is done."""
        self.call(lambda session: session.post(posts))

    def listen(self, mailbox: Mailbox) -> Outcome[None]:
        """Consume the queue of *mailbox*. The outcome comes when messages arrive from then on."""
        live: Outcome[None] = Outcome()
        self.call(lambda session: session.read(mailbox, live))
        return live

    def why(self, queue: str, *, writing: bool) -> BaseException:
        """Return the reason why *queue* cannot be written to, or read, now."""
        of_queue = self.unroutable if writing else self.unreadable
        return (
            self.error or of_queue.get(queue) or TimeoutError("the broker did not answer in time")
        )


_numbers: Final = itertools.count()


class Hold:
    """A client's need for the line, until `release`, or until the hold is dropped."""

    def __init__(self, line: Line, mailbox: Mailbox | None) -> None:
        self.mailbox = mailbox
        self.number = next(_numbers)
        self._line = line
        # First, so that no signal handler that raises can lose a hold.
        self._finalizer = weakref.finalize(self, line.lost, self.number)
        self._finalizer.atexit = False
        line.hold(self)

    def release(self) -> None:
        """End the hold."""
        self._line.release(self.number)
        self._finalizer.detach()  # last, for the same reason


#: Sessions that a fork copied. A child must not close them: they are the parent's.
_inherited: list[Session] = []


_lines: Final[Registry[Line]] = Registry()


def line_to(settings: Settings) -> Line:
    """Return the line of this process to the broker of *settings*."""
    return _lines.get(settings.address, lambda: Line(settings))
