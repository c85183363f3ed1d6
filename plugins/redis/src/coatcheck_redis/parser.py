"""
Replies within one deadline, however slowly they come.
"""

from __future__ import annotations

from typing import Any, Final

from redis import exceptions
from redis.connection import AbstractConnection, DefaultParser

from coatcheck.plugin import monotonic

#: Replies about slots and masters, as the driver's errors. Before redis-py 6 only the driver's own
#: clients of clusters know these.
ERRORS: Final = {
    "ASK": exceptions.AskError,
    "CLUSTERDOWN": exceptions.ClusterDownError,
    "MASTERDOWN": exceptions.MasterDownError,
    "MOVED": exceptions.MovedError,
    "TRYAGAIN": exceptions.TryAgainError,
}


class BoundedParser(DefaultParser):  # type: ignore[misc, valid-type] # chosen when imported
    """
    The driver's parser, that of hiredis, with a deadline for each reply.

    The driver counts its seconds anew whenever bytes arrive, so that a reply that trickles in is never
    late. It sets the socket's timeout twice for each reply, which costs two system calls. Before
    redis-py 8 it takes no timeout for a reply at all.
    """

    EXCEPTION_CLASSES: Final = {**DefaultParser.EXCEPTION_CLASSES, **ERRORS}
    #: When the reply must be complete, on the monotonic clock. `None`: the socket's timeout holds.
    end: float | None = None

    def read_from_socket(self, *args: Any, **options: Any) -> Any:
        if self.end is None or args or options.get("raise_on_timeout") is False:
            return super().read_from_socket(*args, **options)
        left = self.end - monotonic()
        if left <= 0:
            raise exceptions.TimeoutError("the reply did not come in time")
        if self._socket_timeout is not None and left >= self._socket_timeout:
            return super().read_from_socket()
        return super().read_from_socket(left)


def read_by(connection: AbstractConnection, end: float) -> Any:
    """Return the next reply. Raises the driver's errors, also if it is not complete at *end*."""
    parser = connection._parser  # noqa: SLF001 - no public way
    parser.end = end
    try:
        return connection.read_response()
    finally:
        parser.end = None
