"""
Addresses of names, looked up within a given time.

The system's resolver takes no deadline: a silent name server blocks a caller for up to half a
minute. Here a thread asks, one for each name at a time, and each caller waits within its own
deadline.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from .._runtime import forks
from .._runtime.alarm import Alarm
from .._runtime.starting import start

#: The result of `socket.getaddrinfo`.
Addresses = list[tuple[Any, ...]]


class Lookup:
    """One question under way."""

    def __init__(self) -> None:
        self.done = False
        self._lock = threading.Lock()
        self._calls: list[Callable[[], object]] = []
        self._found: Addresses = []
        self._error: Exception | None = None

    def run(self, host: str, port: int) -> None:
        """Ask, and keep the answer."""
        try:
            self._found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - raised where it is asked for
            self._error = error

    def end(self) -> None:
        """Tell those who wait."""
        with self._lock:
            self.done = True
        for call in self._calls:
            call()

    def when_done(self, call: Callable[[], object]) -> None:
        """Have *call* called at the end, in any thread; at once if it is over."""
        with self._lock:
            if not self.done:
                self._calls.append(call)
                return
        call()

    @property
    def answer(self) -> Addresses:
        """The addresses. Raises the system's error."""
        if self._error is not None:
            raise self._error
        return self._found


class Lookups:
    """The questions of this process. Shared by threads; made anew in a forked child."""

    def __init__(self) -> None:
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], Lookup] = {}

    def ask(self, host: str, port: int) -> Lookup:
        """Return the question under way, or begin one."""
        forks.check()
        with self._lock:
            lookup = self._running.get((host, port))
            if lookup is None:
                lookup = Lookup()
                asking = threading.Thread(
                    target=self._run,
                    args=(lookup, host, port),
                    name="coatcheck-lookup",
                    daemon=True,
                )
                start(asking)
                self._running[host, port] = lookup  # one whose thread did not start has no end
        return lookup

    def _run(self, lookup: Lookup, host: str, port: int) -> None:
        lookup.run(host, port)
        with self._lock:
            if self._running.get((host, port)) is lookup:
                del self._running[host, port]
        lookup.end()


LOOKUPS: Final = Lookups()


def addresses(host: str, port: int, seconds: float) -> Addresses:
    """
    Return the result of `socket.getaddrinfo` for TCP, or raise its error; `socket.gaierror` if
    there is no answer within *seconds*.
    """
    known = numeric(host, port)
    if known is not None:
        return known
    lookup = LOOKUPS.ask(host, port)
    answered = Alarm()
    lookup.when_done(answered.ring)
    if not answered.sleep(seconds):
        raise silent(host, seconds)
    return lookup.answer


def numeric(host: str, port: int) -> Addresses | None:
    """Return the addresses of a host in numbers, which takes no time; `None` for a name."""
    # As bytes: the codec for names in other scripts, which is written in Python, is of no use here.
    name = host.encode() if host.isascii() else host
    try:
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return None


def silent(host: str, seconds: float) -> socket.gaierror:
    """Return the error of a lookup that was not answered."""
    text = f"the name server did not answer for {host!r} within {seconds:.3g} s"
    return socket.gaierror(socket.EAI_AGAIN, text)
