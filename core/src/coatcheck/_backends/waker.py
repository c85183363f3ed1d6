"""
A wake-up call for a thread that waits for sockets.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from .._runtime import sockets
from .._runtime.interruptions import pass_on_interruption


class Waker:
    """
    Wakes the thread that sleeps in `sleep`, where an `Alarm` wakes one that waits for nothing else. It
    latches: a call before the sleep ends the sleep.
    """

    def __init__(self) -> None:
        self._heard, self._calling = socket.socketpair()
        self._heard.settimeout(0)
        self._calling.settimeout(0)

    def wake(self) -> None:
        """End the sleep that goes on, or else the next one. For any thread."""
        try:
            self._calling.send(b"!")
        except OSError as error:  # full: it is awake already; closed: nobody sleeps
            pass_on_interruption(error)

    def sleep(self, descriptors: Iterable[int], seconds: float) -> tuple[set[int], bool]:
        """
        Sleep until one of *descriptors* can be read, or until a call of `wake`, *seconds* at most. Return
        those that can be read, and whether there was a call.
        """
        own = self._heard.fileno()
        readable = sockets.ready([own, *descriptors], seconds)
        if own not in readable:
            return readable, False
        self._heard.recv(4096)
        return readable - {own}, True

    def close(self) -> None:
        """Close the sockets."""
        self._calling.close()
        self._heard.close()
