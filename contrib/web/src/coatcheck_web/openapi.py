"""
The description of the gateway for programs, as OpenAPI 3.1.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request

from .answers import JSONAnswer

_ID = {"name": "task_id", "in": "path", "required": True, "schema": {"type": "string"}}
_TASK = {"application/json": {"schema": {"$ref": "#/components/schemas/Task"}}}
_NOTHING = {"description": "Nothing is known of the task."}


def describe(*, writable: bool) -> Callable[[Request], Awaitable[JSONAnswer]]:
    """Return the route that answers with the description."""
    document = {
        "openapi": "3.1.0",
        "info": {"title": "coatcheck", "version": "1"},
        "paths": _paths(writable=writable),
        "components": {"schemas": {"Task": _task()}},
    }

    async def answer(request: Request) -> JSONAnswer:
        servers = [{"url": request.scope.get("root_path") or "/"}]
        return JSONAnswer({**document, "servers": servers})

    return answer


def _paths(*, writable: bool) -> dict[str, Any]:
    one: dict[str, Any] = {"get": _show()}
    paths = {
        "/tasks": {"get": _list()},
        "/tasks/{task_id}": one,
        "/tasks/{task_id}/events": _events(),
    }
    if writable:
        gone = {"204": {"description": "The record was deleted."}, "404": _NOTHING}
        one["delete"] = {"summary": "Forget a task", "parameters": [_ID], "responses": gone}
        revoked = {
            "200": {"description": "The task is revoked.", "content": _TASK},
            "409": {"description": "The task was over before.", "content": _TASK},
        }
        reason = _parameter("reason", "string", "Why; waiters see it.")
        paths["/tasks/{task_id}/revoke"] = {
            "post": {"summary": "Revoke a task", "parameters": [_ID, reason], "responses": revoked}
        }
    return paths


def _show() -> dict[str, Any]:
    wait = _parameter(
        "wait", "number", "Answer when the task is over, after this many seconds at most."
    )
    seen = {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}}
    return {
        "summary": "One task",
        "parameters": [_ID, wait, seen],
        "responses": {
            "200": {"description": "The task is over.", "content": _TASK},
            "202": {"description": "The task is not over.", "content": _TASK},
            "304": {"description": "Nothing has changed."},
            "404": _NOTHING,
        },
    }


def _list() -> dict[str, Any]:
    names = {
        "state": "Only tasks in this state.",
        "name": "Only tasks of this name.",
        "worker": "Only tasks of this worker.",
        "group": "Only tasks of this group.",
        "prefix": "Only tasks whose ids start like this.",
        "since": "Only tasks that ended then or later.",
        "before": "Only tasks that ended before.",
        "sort": "newest, oldest or id.",
        "limit": "At most this many tasks.",
        "after": "The cursor of the page before.",
    }
    parameters = [_parameter(name, "string", text) for name, text in names.items()]
    page = {"description": "Tasks without their values, and the cursor of the next page."}
    return {"summary": "Several tasks", "parameters": parameters, "responses": {"200": page}}


def _events() -> dict[str, Any]:
    stream = {
        "description": "Server-sent events; the last one is `ready`.",
        "content": {"text/event-stream": {}},
    }
    after = _parameter("after", "integer", "The number of the last event seen, as Last-Event-ID.")
    responses = {"200": stream, "204": {"description": "The end was seen."}}
    return {
        "get": {
            "summary": "The events of a task",
            "parameters": [_ID, after],
            "responses": responses,
        }
    }


def _parameter(name: str, kind: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": {"type": kind}}


def _task() -> dict[str, Any]:
    text = {"type": ["string", "null"]}
    names = ("traceback", "date_done", "date_started", "expires_at", "name", "worker", "error")
    return {
        "type": "object",
        "properties": {
            "task_id": {"type": "string"},
            "status": {"type": "string"},
            "known": {"type": "boolean"},
            "result": {"description": "The value, if the task succeeded; progress before."},
            "failure": {"type": ["object", "null"]},
            **dict.fromkeys(names, text),
        },
    }
