"""
Waiting for a change of a record, for synchronous code.
"""

from __future__ import annotations

from contextlib import closing

from .._record.meta import ResultMeta
from .._settings.durations import checked_timeout
from .._waiting.hub import Hub, ThreadWaiter
from ..errors import UnknownTaskError
from .reading import Reads


class Changes(Reads):
    """The method of `Results` that waits for a change."""

    _hub: Hub

    def wait_for_change(self, meta: ResultMeta, timeout: float | None = None) -> ResultMeta:
        """
        Wait until the record differs from the snapshot *meta*, and return the new one.

        A change is a new `change_token`, so no heartbeat is. A ready record is returned at once; one that
        was deleted or has expired becomes an unknown one. Raises `WaitTimeoutError` after *timeout* seconds.
        """
        if meta.ready:
            return meta
        token, seconds = meta.change_token, checked_timeout(timeout)
        waiter = ThreadWaiter([meta.task_id], seconds, updates=True, must_exist=meta.known)
        try:
            with closing(self._hub.results(waiter)) as metas:
                return next(found for found in metas if found.change_token != token)
        except UnknownTaskError:
            return self._codec.unknown(meta.task_id)
