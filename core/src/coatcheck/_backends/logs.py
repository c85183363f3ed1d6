"""
The log of a task: its events in order, numbered by the store from 1 without gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

#: A log keeps at most this many events, and this many bytes of them. The oldest are dropped first.
LOG_EVENTS: Final = 1000
LOG_BYTES: Final = 1024 * 1024


class Log(NamedTuple):
    """
    The part of a log that a read found: the events after a number, as far as they are kept.

    They are the newest ones: the last of `events` has the number `last`.
    """

    events: Sequence[bytes] = ()
    #: The number of the last event that was appended; 0 if there is no log.
    last: int = 0
