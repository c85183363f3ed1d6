"""
A web service that starts work, waits for it, and streams its progress.

    COATCHECK_URL=sqlite:///results.db uvicorn app:app
"""

import json
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing import get_context

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from work import count_words

import coatcheck
from coatcheck import aio

# -- start --


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """
    Keep one `Results` and the workers for as long as the service runs.
    """
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        async with aio.by_url() as results:  # the URL is in COATCHECK_URL
            app.state.pool, app.state.results = pool, results
            yield


app = FastAPI(lifespan=lifespan)


@app.post("/counts", status_code=202)
async def start(request: Request) -> dict[str, str]:
    """
    Start to count the words of a text, and return the task's id.
    """
    task_id = str(uuid.uuid4())
    text = (await request.body()).decode()
    await app.state.results.expect(task_id)  # from now on the id is known
    app.state.pool.submit(count_words, task_id, text)
    return {"task_id": task_id}


# -- wait --


@app.get("/counts/{task_id}")
async def outcome(task_id: str, wait: float = 10) -> JSONResponse:
    """
    Return the outcome. Wait for it, but no longer than *wait* seconds.
    """
    try:
        value = await app.state.results.AsyncResult(task_id).get(min(wait, 30), missing="raise")
    except coatcheck.UnknownTaskError:
        raise HTTPException(404, "there is no such task") from None
    except coatcheck.WaitTimeoutError:
        return JSONResponse({"status": "running"}, 202, {"Retry-After": "1"})
    except (coatcheck.TaskError, ValueError) as error:  # raised by the task
        raise HTTPException(422, str(error)) from None
    return JSONResponse({"status": "done", "value": value})


# -- stream --


@app.get("/counts/{task_id}/progress")
async def progress(task_id: str) -> StreamingResponse:
    """
    Send each state of the task as a server-sent event, to the end.
    """

    async def events() -> AsyncIterator[str]:
        async for meta in app.state.results.AsyncResult(task_id).updates(timeout=60):
            data = {"status": meta.status, "progress": meta.info if not meta.ready else None}
            yield f"data: {json.dumps(data)}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")
