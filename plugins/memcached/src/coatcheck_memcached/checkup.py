"""
The faults of Memcached servers: small items, evictions, memory, connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from coatcheck.plugin import Checkup, Finding, Level, Server, wall

from .connection import Connection
from .link import Link
from .settings import Address, Settings, server_name
from .steps import Step

#: The smallest limit of items that is no fault, in bytes; the server's default.
LEAST: Final = 1024 * 1024
#: The part of the memory that may be used.
FULL: Final = 0.9
#: A server counts whole seconds, and is up to this many late.
_LATE: Final = 2


class Look(Step):
    """Reads the settings and the statistics of one server."""

    writing = False

    def __init__(self) -> None:
        self.settings: Mapping[bytes, bytes] = {}
        self.stats: Mapping[bytes, bytes] = {}

    def run(self, connection: Connection) -> None:
        self.settings, self.stats = connection.stats("settings"), connection.stats()
        self.done = True

    def number(self, name: bytes) -> int:
        """Return a number among the settings and statistics; 0 if the server does not tell it."""
        return int(self.stats.get(name) or self.settings.get(name) or 0)


class MemcachedCheckup(Checkup):
    """The checks of each server."""

    def __init__(self, settings: Settings, link: Link) -> None:
        self._settings = settings
        self._link = link

    def servers(self) -> Sequence[Server]:
        return [self._server(address) for address in self._settings.addresses]

    def _server(self, address: Address) -> Server:
        if isinstance(address, str):
            return Server(address, 0)
        return Server.by_context(*address, self._settings.tls_context)

    def version(self) -> str | None:
        told = {look.stats.get(b"version", b"").decode() for look in self._looks().values()}
        return f"Memcached {', '.join(sorted(told))}" if all(told) else None

    def clock(self) -> float | None:
        told = [look.number(b"time") for look in self._looks().values()]
        # The next full second may be near, so a server's time is a range.
        times = [min(max(wall(), moment), moment + _LATE) for moment in told if moment]
        return max(times, key=lambda moment: abs(moment - wall()), default=None)

    def findings(self) -> Iterator[Finding]:
        for name, look in self._looks().items():
            if not look.stats:
                what = f"{name}: it tells no statistics"
                yield Finding("settings", Level.UNCHECKED, what)
            for check, what, remedy in _judged(look, self._settings.max_item_size):
                yield Finding(check, Level.WARNING, f"{name}: {what}", remedy)

    def _looks(self) -> dict[str, Look]:
        looks = {server_name(address): Look() for address in self._settings.addresses}
        self._link.run({self._link.pool_at(name): look for name, look in looks.items()})
        return looks


def _judged(look: Look, wanted: int | None) -> Iterator[tuple[str, str, str]]:
    """Return a check, a fault and its remedy for each fault."""
    size = look.number(b"item_size_max")
    if 0 < size < max(LEAST, wanted or 0):
        yield "item size", f"items over {size:,} bytes are refused", "start it with -I 8m"
    if look.settings.get(b"cas_enabled") == b"no":
        yield "election", "without CAS no record can be replaced", "start it without -C"
    evicted = look.number(b"evictions")
    if evicted:
        what = f"{evicted} items were evicted before they expired"
        yield "evictions", what, "start it with more memory (-m), or let records expire sooner"
    used, limit = look.number(b"bytes"), look.number(b"limit_maxbytes")
    if used > FULL * limit:
        what = f"{used:,} of {limit:,} bytes are used, and the next records evict others"
        yield "memory", what, "start it with more memory (-m), or let records expire sooner"
    refused = look.number(b"rejected_connections")
    if refused:
        yield "connections", f"{refused} connections were refused", "start it with more (-c)"
