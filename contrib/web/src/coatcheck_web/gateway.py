"""
The ASGI application.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from coatcheck.aio import Results
from coatcheck.errors import (
    ArgumentError,
    BackendError,
    BackendUnavailableError,
    CoatcheckError,
    UnsupportedError,
)

from .access import Access, Authorize
from .answers import JSONAnswer
from .openapi import describe
from .pages import STATIC, Pages
from .streams import Streams
from .tasks import Tasks


def gateway(
    results: Results,
    *,
    writable: bool = False,
    token: str | None = None,
    authorize: Authorize | None = None,
    longest_wait: float = 30.0,
    most_streams: int = 20,
) -> Starlette:
    """
    Return the ASGI application that shows the tasks of *results*, to mount or to run.

    Args:
        results: open and close it in your application.
        writable: also accept requests to revoke and to forget tasks.
        token: clients must send it as `Authorization: Bearer TOKEN`. Without `token` and `authorize`, only clients
            on this machine are served.
        authorize: called with each request; says whether it is allowed. For applications with users.
        longest_wait: seconds that `?wait=` may ask for; more is cut.
        most_streams: how many streams of events one client may have open at a time.
    """
    tasks = Tasks(results, longest_wait=longest_wait)
    streams = Streams(results, most=most_streams)
    pages = Pages(results)
    routes: list[BaseRoute] = [
        Route("/", pages.tasks, name="tasks_page"),
        Route("/view/{task_id:path}", pages.task, name="task_page"),
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
        Route("/tasks", tasks.list),
        Route("/tasks/{task_id:path}/events", streams.events, name="events"),
        Route("/openapi.json", describe(writable=writable)),
    ]
    if writable:
        routes += [
            Route("/tasks/{task_id:path}/revoke", tasks.revoke, methods=["POST"]),
            Route("/tasks/{task_id:path}", tasks.forget, methods=["DELETE"]),
        ]
    routes.append(Route("/tasks/{task_id:path}", tasks.show, name="task"))
    return Starlette(
        routes=routes,
        middleware=[Middleware(Access, token=token, authorize=authorize)],
        exception_handlers={CoatcheckError: _failed, HTTPException: _refused},
    )


async def _failed(_request: Request, error: Exception) -> Response:
    if isinstance(error, BackendUnavailableError):
        return JSONAnswer({"error": "the store cannot be reached"}, 503, {"Retry-After": "2"})
    if isinstance(error, UnsupportedError):
        return JSONAnswer({"error": str(error)}, 501)
    if isinstance(error, ArgumentError):
        return JSONAnswer({"error": str(error)}, 400)
    if isinstance(error, BackendError):
        return JSONAnswer({"error": "the store failed"}, 502)
    raise error


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    return JSONAnswer({"error": error.detail}, error.status_code, error.headers)
