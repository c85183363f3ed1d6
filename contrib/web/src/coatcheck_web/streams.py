"""
The events of a task as server-sent events.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from coatcheck import Capability, Event
from coatcheck.aio import Results

#: Seconds of silence after which a comment shows proxies that the stream is alive.
PING: Final = 15
#: Milliseconds after which a browser that was cut off connects again.
RECONNECT: Final = 1000


class Streams:
    """
    The route, for *results*.

    Args:
        most: how many streams one client may have open at a time.
    """

    def __init__(self, results: Results, *, most: int) -> None:
        self._results = results
        self._most = most
        self._open: Counter[str] = Counter()

    async def events(self, request: Request) -> Response:
        """
        Stream the events after the number `Last-Event-ID`, or `?after=`; the last one carries the ready record.

        204 tells a browser that it has seen the end, and need not connect again.
        """
        task_id = request.path_params["task_id"]
        after = _number(
            request.headers.get("last-event-id") or request.query_params.get("after", "0")
        )
        if Capability.EVENTS not in self._results.capabilities:
            raise HTTPException(
                501, "the store keeps no events: ask for the task with ?wait= instead"
            )
        if after and await self._has_ended(task_id, after):
            return Response(status_code=204)
        client = request.client.host if request.client else ""
        if self._open[client] >= self._most:
            raise HTTPException(429, f"only {self._most} streams at a time", {"Retry-After": "5"})
        return EventSourceResponse(
            self._stream(client, task_id, after),
            ping=PING,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _has_ended(self, task_id: str, after: int) -> bool:
        """Whether the event with the number *after* was the last one."""
        meta = await self._results.get_task_meta(task_id)
        if not meta.ready:
            return False
        async with aclosing(self._results.events(task_id, after, timeout=0)) as events:
            first = await anext(events)
        return first.number <= after

    async def _stream(
        self, client: str, task_id: str, after: int
    ) -> AsyncIterator[ServerSentEvent]:
        self._open[client] += 1
        try:
            async with aclosing(self._results.events(task_id, after)) as events:
                async for event in events:
                    yield _written(event)
        finally:
            self._open[client] -= 1
            self._open += Counter()  # drops those at zero


def _written(event: Event) -> ServerSentEvent:
    shown = event.as_json()
    data = {"task": shown.pop("record"), **shown}
    name = "ready" if event.last else event.kind
    return ServerSentEvent(
        json.dumps(data, allow_nan=False), id=str(event.number), event=name, retry=RECONNECT
    )


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise HTTPException(400, f"{text!r} is not the number of an event")
    return int(text)
