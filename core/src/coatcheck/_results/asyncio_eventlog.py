"""
The log of a task in asyncio, see `coatcheck._results.eventlog`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

from .. import states
from .._backends.asyncio_backend import Backend
from .._backends.backend import Capability
from .._record.documents import AllFields, Fields, checked_id
from .._record.events import Attempt, Event, checked_after
from .._record.meta import ResultMeta
from .._runtime.loops import PerLoop
from .._settings.durations import Expires, checked_timeout
from .._settings.options import Default
from .._waiting.asyncio_hub import Hub, TaskWaiter
from ..errors import ResultTooLargeError
from .asyncio_reading import Reads
from .asyncio_storing import Storing
from .entries import EventReader, attempts, retry_events


class EventLog(Storing, Reads):
    """See `coatcheck._results.eventlog`."""

    backend: Backend[ResultMeta]
    _hubs: PerLoop[Hub]

    def events(
        self, task_id: str, after: int = 0, *, timeout: float | None = None
    ) -> AsyncGenerator[Event, None]:
        """See `coatcheck.Results.events`."""
        self._check_events()
        reader = EventReader(self._codec, checked_id(task_id), checked_after(after))
        waiter = TaskWaiter(
            [task_id], checked_timeout(timeout), updates=True, tail=reader, hint=self._hint
        )
        return self._events(waiter, reader)

    async def _events(self, waiter: TaskWaiter, reader: EventReader) -> AsyncGenerator[Event, None]:
        async with aclosing(self._hubs.get().results(waiter)) as metas:
            async for meta in metas:
                if not waiter.held:  # the last of several records has the news of all
                    for event in reader.take(meta):
                        yield event

    async def attempts(self, task_id: str) -> list[Attempt]:
        """See `coatcheck.Results.attempts`."""
        self._check_events()
        meta = await self.get_task_meta(task_id)
        log = await self.backend.get_log(task_id)
        return attempts(self._codec, meta, log)

    def _check_events(self) -> None:
        if Capability.EVENTS not in self.capabilities:
            raise self.backend._lacks_events()  # noqa: SLF001 - its backend

    async def _append(
        self,
        task_id: str,
        result: Any,
        state: str,
        events: Sequence[bytes],
        *,
        expires: Expires | Default,
        fields: AllFields,
    ) -> bool:
        meta, unless, seconds = self._writer.draft(
            task_id, result, state, expires=expires, fields=fields
        )
        number = await self.backend.append(task_id, meta, events, unless=unless, expires=seconds)
        return number is not None

    async def _store_retry(
        self,
        task_id: str,
        exc: BaseException | None,
        traceback: str | None,
        expires: Expires | Default,
        fields: Fields,
    ) -> bool:
        draft = self._writer.draft(
            task_id,
            exc,
            states.RETRY,
            traceback=traceback,
            expires=expires,
            fields=cast("AllFields", fields),
        )
        if Capability.EVENTS not in self.capabilities:
            return await self._put(draft)
        meta, unless, seconds = draft
        before = (await self.backend.get_many([task_id])).get(task_id)
        log = await self.backend.get_log(task_id)
        try:
            events = retry_events(self, before, log, meta)
        except ResultTooLargeError:
            return await self._put(draft)
        number = await self.backend.append(task_id, meta, events, unless=unless, expires=seconds)
        return number is not None
