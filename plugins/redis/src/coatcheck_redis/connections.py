"""
The driver's connections, in no more than their time also where the name server is silent.
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

    hiredis asks Python for the text of a number, which runs signal handlers. If one raises, there is no
    text, which hiredis does not check: the interpreter crashes.
    """
    return (str(one) if isinstance(one, (int, float)) else one for one in arguments)


class _Connection(connection.AbstractConnection):
    """
    One that sends no numbers: the driver's own commands have some.
    """

    def send_command(self, *args: Any, **options: Any) -> None:
        super().send_command(*texts(args), **options)


class UnixConnection(_Connection, connection.UnixDomainSocketConnection):
    """
    Over a socket of the same machine.
    """


class Connection(_Connection, connection.Connection):
    """
    Over TCP.
    """

    @property
    def is_connected(self) -> bool:
        """
        Whether there is a socket.
        """
        return self._sock is not None  # before redis-py 8 the driver does not tell

    def _connect(self) -> Any:
        # The driver looks the name up once more, which takes no deadline: the answer is fresh then.
        seconds = self.socket_connect_timeout
        lookups.addresses(self.host, self.port, math.inf if seconds is None else seconds)
        return super()._connect()


class SSLConnection(Connection, connection.SSLConnection):
    """
    The same over TLS.
    """
