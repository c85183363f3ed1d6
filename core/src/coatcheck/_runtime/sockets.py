"""
Waiting for sockets, also in processes that gevent or eventlet has patched.
"""

from __future__ import annotations

import select
from collections.abc import Collection


def ready(reading: Collection[int], seconds: float, *, writing: Collection[int] = ()) -> set[int]:
    """
    Return the descriptors that can be read or written, as soon as one can; none after *seconds*.
    """
    # Looked up in the module each time: gevent and eventlet put functions of their own there, and
    # eventlet leaves no `poll`.
    if not hasattr(select, "poll"):
        readable, writable, _ = select.select(list(reading), list(writing), [], seconds)
        return {*readable, *writable}
    poller = select.poll()
    for descriptor in reading:
        poller.register(descriptor, select.POLLIN)
    for descriptor in writing:
        both = descriptor in reading
        poller.register(descriptor, select.POLLIN | select.POLLOUT if both else select.POLLOUT)
    return {descriptor for descriptor, _ in poller.poll(seconds * 1000)}
