"""
Noticing lost workers in asyncio, see `coatcheck._results.noticing`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing

from .._record.documents import checked_id
from .._record.meta import ResultMeta
from .._runtime.loops import PerLoop
from .._waiting.asyncio_hub import Hub, TaskWaiter
from ..errors import WaitTimeoutError
from .asyncio_listing import Lists
from .losses import Watched, is_claim


class Notices(Lists):
    """See `coatcheck._results.noticing`."""

    _hubs: PerLoop[Hub]

    async def check_alive(self, task_id: str) -> bool | None:
        """See `coatcheck.Results.check_alive`."""
        meta = await self.get_task_meta(task_id)
        watched = Watched([meta])
        if not watched.beats:
            return False if meta.ready else None
        waiter = TaskWaiter([task_id], watched.timeout, beats=True, hint=self._hint)
        async with aclosing(self._hubs.get().results(waiter)) as changes:
            return await anext(
                not changed.ready async for changed in changes if watched.take(changed)
            )

    async def reap(self, task_ids: Iterable[str] | None = None) -> list[ResultMeta]:
        """See `coatcheck.Results.reap`."""
        watched = Watched()
        async for meta in (
            self.scan() if task_ids is None else self._snapshots(map(checked_id, task_ids))
        ):
            if not is_claim(meta):
                watched.add(meta)
        if watched.beats:
            waiter = TaskWaiter(watched.beats, watched.timeout, beats=True, hint=self._hint)
            try:
                async with aclosing(self._hubs.get().results(waiter)) as changes:
                    await anext((meta async for meta in changes if watched.take(meta)), None)
            except WaitTimeoutError as error:
                if error.last_error is not None:
                    raise  # without an error of the store, records have gone
        return watched.lost
