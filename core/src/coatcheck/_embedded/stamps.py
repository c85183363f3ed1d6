"""
The expiry of a record, told by its file's time of modification.

That time is a day before the expiry: Celery's own cleanup, left at its default, takes the file for old
when it expires. The digits below the milliseconds are a checksum. Files of other writers lack
it and never expire here.
"""

from __future__ import annotations

import math
import os
import zlib
from typing import Final

from .._runtime.clocks import wall
from ..errors import BackendStoreError

#: Celery's default for result_expires, in milliseconds.
_DAY: Final = 86_400_000
#: File systems keep no later times, in milliseconds: the year 2400.
_NEVER: Final = 13_569_465_600_000


def stamp(descriptor: int, size: int, expires: float | None) -> None:
    """Set the time of modification to the one that says when the record expires."""
    until = None if expires is None else math.ceil((wall() + expires) * 1000)
    if until is None or until > _NEVER:
        moment, kind = int(wall() * 1000), b"kept"
    else:
        moment, kind = until - _DAY, b"until"
    modified = moment * 1_000_000 + _checksum(kind, moment, size)
    os.utime(descriptor, ns=(modified, modified))
    if os.fstat(descriptor).st_mtime_ns != modified:
        raise BackendStoreError(
            "the file system keeps the times of files too coarsely, or not far enough into the future: "
            "use another one, or sqlite:///"
        )


def expiry(modified: int, size: int) -> float | None:
    """Return when a file with that time of modification expires; `None` if others wrote it."""
    moment, rest = divmod(modified, 1_000_000)
    if rest == _checksum(b"until", moment, size):
        return (moment + _DAY) / 1000
    return math.inf if rest == _checksum(b"kept", moment, size) else None


def _checksum(kind: bytes, moment: int, size: int) -> int:
    # In steps of 100 ns: some file systems keep no finer times.
    return zlib.crc32(b"%s %d %d" % (kind, moment, size)) % 10_000 * 100
