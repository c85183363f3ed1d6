"""
The pages for people. They work without JavaScript; a small script keeps them live.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from coatcheck import Capability, ResultMeta, Stats
from coatcheck.aio import Results
from coatcheck.errors import CoatcheckError, UnsupportedError, WaitTimeoutError

from .queries import page_options
from .values import cut, tree

STATIC: Final = Path(__file__).parent / "static"
#: Pages load only their own files.
POLICY: Final = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'"
#: The most events on a page, the newest ones.
_EVENTS: Final = 100
#: Counting takes at most this part of the time.
_SHARE: Final = 0.05
_WORDS: Final = {
    "minute": "in the last minute",
    "hour": "in the last hour",
    "day": "in the last day",
    "older": "older",
    "undated": "without a date",
}


class Pages:
    """The routes of the pages, for *results*."""

    def __init__(self, results: Results) -> None:
        self._results = results
        environment = Environment(loader=PackageLoader("coatcheck_web"), autoescape=True)
        environment.filters |= {"cut": cut, "moment": _moment, "took": _took, "data": _data}
        self._environment = environment
        self._store = repr(results).removeprefix("<Results ").removesuffix(">")  # without secrets
        self._stats: Stats | None = None
        self._count_at = 0.0

    async def tasks(self, request: Request) -> Response:
        """Show a page of tasks, and how many there are in each state."""
        query = {name: text for name, text in request.query_params.items() if text}
        page = await self._results.page(**page_options(query))
        more = None if page.cursor is None else urlencode({**query, "after": page.cursor})
        stats = None if "after" in query else await self._counted()
        return self._show(
            request, "tasks.html", page=page, query=query, more=more, stats=stats, words=_WORDS
        )

    async def _counted(self) -> Stats | None:
        now = time.monotonic()
        if now >= self._count_at:
            try:
                self._stats = await self._results.stats(sample=1000)
            except UnsupportedError:
                self._stats = None
            self._count_at = time.monotonic() + (time.monotonic() - now) / _SHARE
        return self._stats

    async def task(self, request: Request) -> Response:
        """Show one task. Its value is shown if the reader opens it."""
        task_id = request.path_params["task_id"]
        meta = await self._results.get_task_meta(task_id)
        keeps_events = Capability.EVENTS in self._results.capabilities
        shown = meta.as_json()
        opened = "value" in request.query_params or not meta.ready
        return self._show(
            request,
            "task.html",
            200 if meta.known else 404,
            meta=meta,
            facts=_facts(meta),
            progress=_progress(shown["result"]) if meta.status == "PROGRESS" else None,
            value=tree(shown["result"]) if opened and meta.known else None,
            attempts=await self._results.attempts(task_id) if keeps_events and meta.known else [],
            events=await self._events(task_id) if keeps_events and meta.known else [],
        )

    async def _events(self, task_id: str) -> list[Any]:
        newest: deque[Any] = deque(maxlen=_EVENTS)  # the last one comes first
        with suppress(WaitTimeoutError):  # the task is not over
            async with aclosing(self._results.events(task_id, timeout=0)) as events:
                async for event in events:
                    newest.appendleft(event)
        return list(newest)

    def _show(self, request: Request, name: str, status: int = 200, **context: Any) -> Response:
        def link(name: str, **parts: str) -> str:
            quoted = {
                key: quote(part, safe="/" if name == "static" else "", errors="replace")
                for key, part in parts.items()
            }
            return request.url_for(name, **quoted).path

        html = self._environment.get_template(name).render(context, link=link, store=self._store)
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(html.encode("utf-8", "replace"), status, headers)


def _facts(meta: ResultMeta) -> list[tuple[str, str]]:
    facts = {
        "name": meta.name,
        "worker": meta.worker,
        "queue": meta.queue,
        "retries": meta.retries,
        "started": _moment(meta.date_started),
        "ended": _moment(meta.date_done) if meta.ready else None,
        "took" if meta.ready else "runs for": _took(meta),
        "expires": _moment(meta.expires_at),
    }
    return [(name, str(fact)) for name, fact in facts.items() if fact]


def _progress(info: Any) -> dict[str, float] | None:
    """Return how far a task is, if its state says that in numbers."""
    if not isinstance(info, dict):
        return None
    current, total = info.get("current"), info.get("total")
    if not isinstance(current, (int, float)) or not isinstance(total, (int, float)):
        return None
    return {"current": current, "total": total}


def _moment(date: datetime | None) -> str:
    return "" if date is None else f"{date:%Y-%m-%d %H:%M:%S}"


def _took(meta: ResultMeta) -> str:
    if meta.date_started is None:
        return ""
    end = meta.date_done if meta.ready else datetime.now(UTC)
    seconds = 0.0 if end is None else (end - meta.date_started).total_seconds()
    return f"{seconds:.2f} s" if seconds < 100 else str(timedelta(seconds=round(seconds)))


def _data(event: Any) -> str:
    try:
        data = event.data if event.state is None else None
    except CoatcheckError as error:
        return cut(str(error), 200)
    return "" if data is None else cut(repr(data), 200)
