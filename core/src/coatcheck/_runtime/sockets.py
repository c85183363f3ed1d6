"""
Waiting for sockets, also in processes that gevent or eventlet has patched.
"""

from __future__ import annotations

import select
from collections.abc import Iterable


def ready(reading: Iterable[int], seconds: float, *, writing: Iterable[int] = ()) -> set[int]:
    """
    Return the descriptors that can be read or written, as soon as one can; none after *seconds*.
    """
    # Looked up in the module each time: gevent and eventlet put functions of their own there, and
    # eventlet leaves no `poll`.
    if not hasattr(select, "poll"):
        readable, writable, _ = select.select(list(reading), list(writing), [], seconds)
        return {*readable, *writable}
    events = dict.fromkeys(reading, select.POLLIN)
    for descriptor in writing:
        events[descriptor] = events.get(descriptor, 0) | select.POLLOUT
    poller = select.poll()
    for descriptor, mask in events.items():
        poller.register(descriptor, mask)
    return {descriptor for descriptor, _ in poller.poll(seconds * 1000)}
