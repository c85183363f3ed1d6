"""
A FastAPI application that shows and awaits results.

    COATCHECK_URL=sqlite:///results.db uvicorn fastapi_app:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

import coatcheck
from coatcheck import aio


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """
    Open the results when the application starts and close them when it ends.
    """
    async with aio.by_url() as results:  # the URL is in COATCHECK_URL
        app.state.results = results
        yield


app = FastAPI(lifespan=lifespan)


def get_results(request: Request) -> aio.Results:
    """
    Return the results of the application. Tests override this dependency.
    """
    results: aio.Results = request.app.state.results
    return results


Results = Annotated[aio.Results, Depends(get_results)]


@app.get("/tasks/{task_id}")
async def outcome(task_id: str, results: Results, wait: float = 0) -> dict[str, object]:
    """
    Return the outcome. Wait for it, but no longer than *wait* seconds.
    """
    value = await results.AsyncResult(task_id).get(timeout=min(wait, 30), missing="raise")
    return {"status": "done", "value": value}


@app.exception_handler(coatcheck.UnknownTaskError)
async def unknown(_request: Request, error: Exception) -> JSONResponse:
    """
    Answer for an id that was never seen.
    """
    return JSONResponse({"error": str(error)}, 404)


@app.exception_handler(coatcheck.WaitTimeoutError)
async def running(_request: Request, _error: Exception) -> JSONResponse:
    """
    Answer for a task that is not over yet.
    """
    return JSONResponse({"status": "running"}, 202)


@app.exception_handler(coatcheck.TaskError)
async def failed(_request: Request, error: Exception) -> JSONResponse:
    """
    Answer for a task that failed.
    """
    return JSONResponse({"status": "failed", "error": str(error)}, 422)
