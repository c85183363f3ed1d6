"""
The log of a task, for synchronous code.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any, cast

from .. import states
from .._backends.backend import Backend, Capability
from .._record.documents import AllFields, Fields, checked_id
from .._record.events import Attempt, Event, checked_after
from .._record.meta import ResultMeta
from .._settings.durations import Expires, checked_timeout
from .._settings.options import Default
from .._waiting.hub import Hub, ThreadWaiter
from ..errors import ResultTooLargeError
from .entries import EventReader, attempts, retry_events
from .reading import Reads
from .storing import Storing


class EventLog(Storing, Reads):
    """The methods of `Results` that concern events."""

    backend: Backend[ResultMeta]
    _hub: Hub

    def events(
        self, task_id: str, after: int = 0, *, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """
        Iterate over the events of a task: those after the number *after*, then new ones as they come, and at
        the end the one that carries the ready record. Needs the capability EVENTS.

        If events after *after* were dropped, the first one says how many. A reader that was cut off goes
        on with the number of the last event that it has seen.

        Args:
            timeout: seconds; `None` waits, 0 looks once. Then `WaitTimeoutError` is raised.
        """
        self._check_events()
        reader = EventReader(self._codec, checked_id(task_id), checked_after(after))
        waiter = ThreadWaiter(
            [task_id], checked_timeout(timeout), updates=True, tail=reader, hint=self._hint
        )
        return self._events(waiter, reader)

    def _events(self, waiter: ThreadWaiter, reader: EventReader) -> Generator[Event, None, None]:
        with closing(self._hub.results(waiter)) as metas:
            for meta in metas:
                if not waiter.held:  # the last of several records has the news of all
                    yield from reader.take(meta)

    def attempts(self, task_id: str) -> list[Attempt]:
        """
        Return the attempts at a task, oldest first: worker, start, end and error of each. Needs the
        capability EVENTS.

        They are known by the task's log, which begins with the first event or RETRY, and by its record.
        """
        self._check_events()
        meta = self.get_task_meta(task_id)
        log = self.backend.get_log(task_id)
        return attempts(self._codec, meta, log)

    def _check_events(self) -> None:
        if Capability.EVENTS not in self.capabilities:
            raise self.backend._lacks_events()  # noqa: SLF001 - its backend

    def _append(
        self,
        task_id: str,
        result: Any,
        state: str,
        events: Sequence[bytes],
        *,
        expires: Expires | Default,
        fields: AllFields,
    ) -> bool:
        """Store an unready record and append *events* to the log; `False` if the task is over."""
        meta, unless, seconds = self._writer.draft(
            task_id, result, state, expires=expires, fields=fields
        )
        number = self.backend.append(task_id, meta, events, unless=unless, expires=seconds)
        return number is not None

    def _store_retry(
        self,
        task_id: str,
        exc: BaseException | None,
        traceback: str | None,
        expires: Expires | Default,
        fields: Fields,
    ) -> bool:
        """
        Store RETRY, also as an event where the store keeps them. That takes two reads before: the log
        gets what the record says about the attempt.
        """
        draft = self._writer.draft(
            task_id,
            exc,
            states.RETRY,
            traceback=traceback,
            expires=expires,
            fields=cast("AllFields", fields),
        )
        if Capability.EVENTS not in self.capabilities:
            return self._put(draft)
        meta, unless, seconds = draft
        before = self.backend.get_many([task_id]).get(task_id)
        log = self.backend.get_log(task_id)
        try:
            events = retry_events(self, before, log, meta)
        except ResultTooLargeError:
            return self._put(draft)
        number = self.backend.append(task_id, meta, events, unless=unless, expires=seconds)
        return number is not None
