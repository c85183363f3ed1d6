"""
The time on the servers, as their heartbeats tell it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from pymongo.monitoring import (
    ServerHeartbeatFailedEvent,
    ServerHeartbeatListener,
    ServerHeartbeatStartedEvent,
    ServerHeartbeatSucceededEvent,
)

from coatcheck.plugin import monotonic

EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - naive and in UTC, as the driver returns dates
#: A record that expires within this many seconds may have expired already.
MARGIN: Final = 2.0
#: Seconds after which a heartbeat is no longer relied on.
TRUST: Final = 30.0
#: The server itself computes the end of a life that is shorter than this, in seconds.
SHORT: Final = 60.0
#: The largest age of a server's time when its heartbeat arrives, in seconds.
LATE: Final = 0.5


class ServerClock(ServerHeartbeatListener):
    """
    Tells which records surely live, so that most reads need not ask the server to compare times. Shared by
    threads. Without this clock a fetch takes 1.82 times as long: `tests/bench/fast_paths.py`.
    """

    def __init__(self) -> None:
        #: By server: its time less our monotonic one, in seconds.
        self._offsets: dict[Any, float] = {}
        self._latest = 0.0
        self._heard = float("-inf")

    def started(self, event: ServerHeartbeatStartedEvent) -> None:
        pass

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        local = event.reply.document.get("localTime")
        if not isinstance(local, datetime):
            return
        now = monotonic()
        seconds = (local.replace(tzinfo=None) - EPOCH).total_seconds()
        offsets = {**self._offsets, event.connection_id: seconds - now}
        self._offsets = offsets
        # The clock that is ahead, because any of the servers may be asked.
        self._latest = max(offsets.values())
        self._heard = now

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        self._offsets = {k: v for k, v in self._offsets.items() if k != event.connection_id}

    def end_of(self, seconds: float) -> datetime | None:
        """
        Return the end of a life that begins now, by the servers' clocks and rather a little late; `None` if the
        life is too short for that, or the time is not known.
        """
        now = monotonic()
        if seconds < SHORT or now - self._heard > TRUST:
            return None
        return EPOCH + timedelta(seconds=now + self._latest + seconds + LATE)

    def surely_lives(self, expires_at: object) -> bool:
        """Return whether a record with this date has surely not expired."""
        if not isinstance(expires_at, datetime):
            return True  # it is kept; so is a record whose date is beyond all years, or no date
        now = monotonic()
        if now - self._heard > TRUST:
            return False
        if expires_at.tzinfo is not None:
            expires_at = expires_at.replace(tzinfo=None)
        return (expires_at - EPOCH).total_seconds() - now - self._latest > MARGIN
