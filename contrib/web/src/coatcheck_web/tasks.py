"""
The routes of tasks: one, several, and changes of one.
"""

from __future__ import annotations

import math
from typing import Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from coatcheck import ResultMeta
from coatcheck.aio import Results
from coatcheck.errors import WaitTimeoutError

from .answers import JSONAnswer
from .queries import page_options

#: Seconds after which a client that does not wait should ask again.
RETRY_AFTER: Final = 2


def accepted(task_id: str, *, under: str = "/tasks") -> JSONAnswer:
    """
    Return the answer of a route that started a task: 202, with the place of the task below *under*.

    *under* is where the gateway is mounted, and `/tasks`.
    """
    location = f"{under}/{quote(task_id, safe='')}"
    headers = {"Location": location, "Retry-After": str(RETRY_AFTER)}
    return JSONAnswer({"task_id": task_id, "location": location}, 202, headers)


class Tasks:
    """
    The routes, for *results*.

    Args:
        longest_wait: seconds that `?wait=` may ask for.
    """

    def __init__(self, results: Results, *, longest_wait: float) -> None:
        self._results = results
        self._longest = longest_wait

    async def show(self, request: Request) -> Response:
        """
        Answer with one task: 200 if it is over, 202 before, 404 if nothing is known of it.

        With `?wait=SECONDS`, wait until it is over, or until it has changed if the client sends the
        `ETag` of an earlier answer.
        """
        task_id = request.path_params["task_id"]
        seen = request.headers.get("if-none-match")
        meta = await self._results.get_task_meta(task_id)
        wait = _seconds(request, self._longest)
        if wait and not meta.ready and seen in (None, _etag(meta)):
            meta = await self._changed(meta, wait, until_ready=seen is None)
        if not meta.known:
            raise HTTPException(404, f"nothing is known of the task {task_id!r}")
        if seen == _etag(meta):
            return Response(status_code=304, headers=_headers(meta))
        return JSONAnswer(meta.as_json(), 200 if meta.ready else 202, _headers(meta))

    async def _changed(self, meta: ResultMeta, wait: float, *, until_ready: bool) -> ResultMeta:
        try:
            if until_ready:
                return await self._results.wait_for(meta.task_id, timeout=wait)
            return await self._results.wait_for_change(meta, timeout=wait)
        except WaitTimeoutError:
            return await self._results.get_task_meta(meta.task_id)

    async def list(self, request: Request) -> Response:
        """Answer with a page of tasks, without their values."""
        page = await self._results.page(**page_options(request.query_params))
        tasks = [_summary(meta) for meta in page.records]
        return JSONAnswer({"tasks": tasks, "cursor": page.cursor, "total": page.total})

    async def revoke(self, request: Request) -> Response:
        """Revoke a task: 200 with its record, 409 if it was over before."""
        task_id = request.path_params["task_id"]
        won = await self._results.revoke(task_id, request.query_params.get("reason", ""))
        meta = await self._results.get_task_meta(task_id)
        return JSONAnswer(meta.as_json(), 200 if won else 409, _headers(meta))

    async def forget(self, request: Request) -> Response:
        """Delete a record: 204, or 404 if there was none."""
        task_id = request.path_params["task_id"]
        if not await self._results.forget(task_id):
            raise HTTPException(404, f"nothing is known of the task {task_id!r}")
        return Response(status_code=204)


def _headers(meta: ResultMeta) -> dict[str, str]:
    headers = {"ETag": _etag(meta), "Cache-Control": "no-cache"}
    return headers if meta.ready else {**headers, "Retry-After": str(RETRY_AFTER)}


def _etag(meta: ResultMeta) -> str:
    return f'"{quote(meta.change_token, safe="")}"'  # a foreign record may hold any text


def _summary(meta: ResultMeta) -> dict[str, object]:
    dates = {"date_started": meta.date_started, "date_done": meta.date_done}
    return {
        "task_id": meta.task_id,
        "status": meta.status,
        "name": meta.name,
        "worker": meta.worker,
        **{name: date and date.isoformat() for name, date in dates.items()},
    }


def _seconds(request: Request, most: float) -> float:
    text = request.query_params.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise HTTPException(400, f"wait={text!r}: use a number of seconds")
    return min(seconds, most)
