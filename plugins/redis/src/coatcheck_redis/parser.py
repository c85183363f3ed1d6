"""
Replies within one deadline, however slowly they come.
"""

from __future__ import annotations

import time
from typing import Any

from redis import exceptions
from redis.connection import DefaultParser


class BoundedParser(DefaultParser):  # type: ignore[misc, valid-type] # chosen when imported
    """
    The driver's parser, that of hiredis, where the `timeout` of `read_response` is a time of the
    monotonic clock: when the reply has to be there as a whole.

    The driver counts its seconds anew whenever bytes arrive, so that a reply which trickles in
    would never be late; and it sets the socket's timeout twice a reply, which are two system calls.
    """

    def read_from_socket(self, timeout: Any = None, raise_on_timeout: bool = True) -> Any:  # noqa: FBT001, FBT002 - as the driver's
        if not isinstance(timeout, float):  # none was given: the socket's own holds
            return super().read_from_socket(raise_on_timeout=raise_on_timeout)
        left = timeout - time.monotonic()
        if left <= 0:
            raise exceptions.TimeoutError("the reply did not come in time")
        if self._socket_timeout is not None and left >= self._socket_timeout:
            return super().read_from_socket()
        return super().read_from_socket(left)
