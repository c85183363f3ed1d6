"""
Waiting for a change of a record, in asyncio, see `coatcheck._results.changes`.
"""

from __future__ import annotations

from contextlib import aclosing

from .._record.meta import ResultMeta
from .._runtime.loops import PerLoop
from .._settings.durations import checked_timeout
from .._waiting.asyncio_hub import Hub, TaskWaiter
from ..errors import UnknownTaskError
from .asyncio_reading import Reads


class Changes(Reads):
    """The method of `Results` that waits for a change."""

    _hubs: PerLoop[Hub]

    async def wait_for_change(self, meta: ResultMeta, timeout: float | None = None) -> ResultMeta:
        """See `coatcheck.Results.wait_for_change`."""
        if meta.ready:
            return meta
        token, seconds = meta.change_token, checked_timeout(timeout)
        waiter = TaskWaiter([meta.task_id], seconds, updates=True, must_exist=meta.known)
        try:
            async with aclosing(self._hubs.get().results(waiter)) as metas:
                return await anext(found async for found in metas if found.change_token != token)
        except UnknownTaskError:
            return self._codec.unknown(meta.task_id)
