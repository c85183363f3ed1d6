"""
Replies within one deadline each, however slowly they come.
"""

from __future__ import annotations

import time
from typing import Any

from redis import exceptions
from redis.connection import DefaultParser


class BoundedParser(DefaultParser):  # type: ignore[misc, valid-type] # chosen when imported
    """
    The driver's parser, that of hiredis, where a timeout is one for the whole reply.

    The driver begins it anew whenever bytes arrive, so that a reply which trickles in would never
    be late.
    """

    _end: float | None = None

    def read_response(self, *args: Any, timeout: Any = None, **options: Any) -> Any:
        # Without a number it is the socket's, which may be none: a driver's default is an object.
        seconds = timeout if isinstance(timeout, (int, float)) else self._socket_timeout
        self._end = None if seconds is None else time.monotonic() + seconds
        return super().read_response(*args, timeout=seconds, **options)

    def read_from_socket(self, timeout: float | None = None, **options: Any) -> Any:
        if self._end is not None:
            timeout = self._end - time.monotonic()
            if timeout <= 0:
                raise exceptions.TimeoutError("the reply did not come in time")
        return super().read_from_socket(timeout=timeout, **options)
