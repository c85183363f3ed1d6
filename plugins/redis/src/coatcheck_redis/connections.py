"""
The driver's connections, in no more than their time also where the name server is silent.
"""

from __future__ import annotations

import math
from typing import Any

from redis import connection

from coatcheck import lookups


class Connection(connection.Connection):
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
