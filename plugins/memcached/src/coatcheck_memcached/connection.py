"""
One connection to one server: the driver's client, bound by a deadline.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError, MemcacheUnknownError

from coatcheck import lookups

from .errors import error_in, is_transient, is_unauthenticated
from .settings import Place, Settings, label_of
from .sockets import Sockets

#: What an item takes besides its key and value: 59 bytes in Memcached 1.6, more in older ones.
_OVERHEAD: Final = 100
_LONGEST_NAME: Final = 250
#: How long what a server said of its clock is relied on, in seconds.
_CLOCK_AGE: Final = 60.0
#: What the driver calls commands whose replies are all returned, refusals as well.
_EACH: Final = b"each"


class Connection(Client):
    """
    Connects when it is first used, and again after `close`. Of one thread at a time.

    All of it raises the driver's errors, or an `OSError`. After any other error what is left
    unread would answer the next command: the connection has to be closed then.
    """

    def __init__(self, place: Place, settings: Settings) -> None:
        self._sockets = Sockets("" if isinstance(place, str) else place[0], settings)
        super().__init__(
            place,
            connect_timeout=settings.connect_timeout,
            no_delay=True,
            default_noreply=False,
            socket_module=self._sockets,
        )
        self.label = label_of(place)
        #: Which life of its pool it belongs to.
        self.generation = 0
        #: The largest value that the server takes, in bytes; `None` where it does not say.
        self.max_value_bytes: int | None = None
        #: Whether the server has `cas`.
        self.has_cas = True
        self._max_item_size = settings.max_item_size
        self._clock: tuple[float, float] | None = None

    def begin(self, end: float) -> None:
        """
        Be bound by *end*, on the monotonic clock, from now on. Learn what the server takes, where
        it is not connected.
        """
        self._sockets.end = end
        if self.sock is None:
            self._clock = None
            self._ask_settings()

    def _ask_settings(self) -> None:
        size: Any = self._max_item_size
        if size is None:
            said = self._said("settings")
            self.has_cas = said.get(b"cas_enabled") != b"no"
            size = said.get(b"item_size_max")
        known = isinstance(size, int)
        self.max_value_bytes = size - _OVERHEAD - _LONGEST_NAME if known else None

    def _said(self, *what: str) -> dict[bytes, Any]:
        """
        Return what the server says of itself. What stands between (a proxy) may not know the
        command.
        """
        try:
            return dict(self.stats(*what))
        except MemcacheClientError as error:
            if is_transient(error) or is_unauthenticated(error):
                raise
            return {}

    def now(self) -> float:
        """
        Return the Unix time by the server's clock, up to two seconds late; ours where it does not
        say.
        """
        moment = time.monotonic()
        if self._clock is None or moment - self._clock[1] > _CLOCK_AGE:
            said = self._said().get(b"time")
            self._clock = (said if isinstance(said, int) else time.time(), moment)
        said, then = self._clock
        return said + moment - then

    def replies(self, commands: Sequence[bytes]) -> list[bytes]:
        """
        Send *commands*, and return the reply of each, a line.
        """
        # Over TLS Memcached 1.6 may forget what it has decrypted behind the command it is at,
        # until more comes: there one command follows the reply to the one before.
        if self._sockets.tls_context is not None and len(commands) > 1:
            return [line for command in commands for line in self.replies([command])]
        lines: list[bytes] = self._misc_cmd(commands, _EACH, noreply=False)
        return lines

    # -- the driver's, protected --------------------------------------------------------------

    def _connect(self) -> None:
        # The driver tries the first address of a name alone.
        addresses = self._addresses()
        for left in range(len(addresses), 0, -1):
            self._sockets.found = addresses[-left:]
            try:
                super()._connect()
                break
            except OSError:
                if left == 1:
                    raise

    def _addresses(self) -> list[Any]:
        if isinstance(self.server, str):
            return [self.server]
        try:
            host, port = self.server
            return lookups.addresses(host, port, self._sockets.end - time.monotonic())
        except ValueError as error:  # a host that no name can be, of which the URL did not tell
            raise OSError(f"there can be no such place: {error}") from error

    def _raise_errors(self, line: bytes, name: bytes) -> None:
        # The driver's own leaves out what the server says in part.
        if name != _EACH and line.startswith((b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")):
            raise error_in(line)

    def _fetch_cmd(self, *args: Any, **options: Any) -> dict[Any, Any]:
        try:
            found: dict[Any, Any] = super()._fetch_cmd(*args, **options)
            return found
        except OSError:
            raise  # some are of the next ones as well
        except (LookupError, ValueError) as error:  # or the answer to somebody else's question
            raise MemcacheUnknownError(f"a reply that makes no sense: {error}") from error
