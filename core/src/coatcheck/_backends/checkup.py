"""
The checks that a backend offers to `coatcheck doctor`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket
    import ssl


class Level(enum.IntEnum):
    """The meaning of a finding for the store. The worst one decides the exit status."""

    #: Nobody can tell, for instance because a permission is missing.
    UNCHECKED = -1
    SOUND = 0
    #: It works now, and will cause trouble.
    WARNING = 1
    BROKEN = 2


class Finding(NamedTuple):
    """
    The outcome of one check.

    A warning and worse has a `remedy`: the setting to change, the command to run. `seconds` is the time
    that a step took.
    """

    check: str
    level: Level
    what: str
    remedy: str = ""
    seconds: float | None = None


class Server(NamedTuple):
    """
    A server to reach. For a Unix socket `host` is its path and `port` is 0.

    `tls` speaks TLS on a connected socket, certificates verified as the driver does.
    """

    host: str
    port: int
    tls: Callable[[socket.socket], ssl.SSLSocket] | None = None

    @classmethod
    def by_context(cls, host: str, port: int, context: ssl.SSLContext | None) -> Server:
        """Return a server whose TLS is that of *context*; `None` stands for plain text."""
        tls = None if context is None else partial(context.wrap_socket, server_hostname=host)
        return cls(host, port, tls)


class Checkup:
    """
    The checks of one store: a subclass has those that only its author can write. They may block, and
    errors of the store may come through as `BackendError`.
    """

    #: The prefix of the keys, in stores that have keys. Set before the first check.
    key_prefix: str = ""

    def servers(self) -> Sequence[Server]:
        """Return the servers of the URL. Each is looked for by steps: name, TCP, TLS."""
        return ()

    def version(self) -> str | None:
        """Return the name and the version of the server or library, such as "Redis 8.2.1"."""
        return None

    def findings(self) -> Iterable[Finding]:
        """Check the settings and the condition of a store that can be reached."""
        return ()

    def clock(self) -> float | None:
        """Return the store's time in seconds since 1970; `None` if it has no clock of its own."""
        return None

    def endless(self, task_ids: Sequence[str]) -> int | None:
        """Return how many of the records never expire; `None` if the store cannot tell."""
        del task_ids
        return None
