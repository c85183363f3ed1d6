"""
Addresses of names, looked up in no more than the time that there is.

The system's resolver takes no deadline: where the name server is silent it holds whoever asks for
up to half a minute. Here a thread asks, one for each name at a time, and nobody waits for it for
longer than he may.
"""

from __future__ import annotations

import socket
import threading
from typing import Any, Final

from . import forks

#: What `socket.getaddrinfo` returns.
Addresses = list[tuple[Any, ...]]


class _Lookup:
    """
    One question under way.
    """

    def __init__(self) -> None:
        self.done = threading.Event()
        self.found: Addresses = []
        self.error: Exception | None = None

    def run(self, host: str, port: int) -> None:
        try:
            self.found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - raised where it is asked for
            self.error = error


class Lookups:
    """
    The questions of this process. Shared by threads; made anew in a forked child.
    """

    def __init__(self) -> None:
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], _Lookup] = {}

    def addresses(self, host: str, port: int, seconds: float) -> Addresses:
        """
        Return what `socket.getaddrinfo` returns for TCP, or raise what it raises; `socket.gaierror`
        if it says nothing within *seconds*.
        """
        try:
            return socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        except socket.gaierror:
            pass  # it is a name
        lookup = self._ask(host, port)
        if not lookup.done.wait(min(max(seconds, 0.0), threading.TIMEOUT_MAX)):
            text = f"the name server did not answer for {host!r} within {seconds:.3g} s"
            raise socket.gaierror(socket.EAI_AGAIN, text)
        if lookup.error is not None:
            raise lookup.error
        return lookup.found

    def _ask(self, host: str, port: int) -> _Lookup:
        with self._lock:
            lookup = self._running.get((host, port))
            if lookup is None:
                lookup = self._running[host, port] = _Lookup()
                threading.Thread(
                    target=self._run,
                    args=(lookup, host, port),
                    name="coatcheck-lookup",
                    daemon=True,
                ).start()
        return lookup

    def _run(self, lookup: _Lookup, host: str, port: int) -> None:
        lookup.run(host, port)
        with self._lock:
            self._running.pop((host, port), None)
        lookup.done.set()


_LOOKUPS: Final = Lookups()

#: Of the one object there is.
addresses = _LOOKUPS.addresses
