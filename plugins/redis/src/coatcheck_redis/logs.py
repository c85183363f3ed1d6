"""
The logs of tasks: a stream each, with the event N as the entry 0-N. No I/O.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from redis.crc import key_slot

from coatcheck.plugin import Log

#: Redis counts the entries of a stream in 64 bits.
_LAST: Final = 2**64 - 1


def log_of(key: str) -> str:
    """Return the key of the log of *key*, in the same slot of a cluster."""
    if "}" not in key:
        return f"coatcheck-events-{{{key}}}"
    log = f"coatcheck-events-{key}"
    slot = _slot_of(key)
    return log if _slot_of(log) == slot else f"coatcheck-events-{{{_tag_of(slot)}}}{key}"


@lru_cache(maxsize=256)
def _tag_of(slot: int) -> str:
    """Return a text in *slot*: the way for keys with braces that Redis does not take for a tag."""
    return next(tag for tag in map(str, itertools.count()) if _slot_of(tag) == slot)


def _slot_of(key: str) -> int:
    return key_slot(key.encode("utf-8", "surrogateescape"))


def log_reads(key: str, after: int) -> list[tuple[Any, ...]]:
    """Return the commands that read the events of *key* after the number *after*."""
    log = log_of(key)
    return [
        ("XREVRANGE", log, "+", "-", "COUNT", "1"),
        ("XRANGE", log, f"0-{min(after, _LAST - 1) + 1}", "+"),
    ]


def log_in(replies: Sequence[Any]) -> Log:
    """Return the log in the replies to `log_reads`."""
    newest, entries = (reply if isinstance(reply, list) else [] for reply in replies)
    last = entries[-1] if entries else newest[0] if newest else None
    if last is None:
        return Log()
    return Log([entry[1][1] for entry in entries], int(last[0].rpartition(b"-")[2]))
