"""
The driver's connections, which keep to their time even if the name server is silent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from redis import connection

from coatcheck.plugin import lookups


def texts(arguments: Iterable[Any]) -> Iterator[Any]:
    """
    Iterate over a command's *arguments*, numbers as text.

    hiredis asks Python for the text of a number, and signal handlers run. If one raises, hiredis goes on
    without the text, and the interpreter crashes.
    """
    return (str(one) if isinstance(one, (int, float)) else one for one in arguments)


class _Connection(connection.AbstractConnection):
    def send_command(self, *args: Any, **options: Any) -> None:
        super().send_command(*texts(args), **options)


class UnixConnection(_Connection, connection.UnixDomainSocketConnection):
    """To a unix socket."""


class Connection(_Connection, connection.Connection):
    """Over TCP."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a socket. The driver does not tell before redis-py 8."""
        return self._sock is not None

    def _connect(self) -> Any:
        # The driver looks the name up once more, without a deadline: then the answer is cached.
        seconds = self.socket_connect_timeout
        lookups.addresses(self.host, self.port, math.inf if seconds is None else seconds)
        return super()._connect()


class SSLConnection(Connection, connection.SSLConnection):
    """Over TLS."""
