"""
A FastAPI application that starts work and lets browsers follow it.

    COATCHECK_URL=redis://localhost uvicorn progress_app:app
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response

from coatcheck import aio
from coatcheck_web import accepted, gateway

results = aio.by_url()  # the URL is in COATCHECK_URL
tasks: set[asyncio.Task[None]] = set()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """
    Close the results when the application ends.
    """
    async with results:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/jobs", gateway(results))


@app.get("/")
async def page() -> FileResponse:
    """
    Answer with the page that shows progress.
    """
    return FileResponse(Path(__file__).with_name("progress.html"))


@app.post("/reports")
async def start(rows: int = 20) -> Response:
    """
    Start a report, and say where its task can be followed.
    """
    task_id = str(uuid.uuid4())
    await results.expect(task_id)
    work = asyncio.create_task(report(task_id, rows))  # or send it to a queue
    tasks.add(work)
    work.add_done_callback(tasks.discard)
    return accepted(task_id, under="/jobs/tasks")


async def report(task_id: str, rows: int) -> None:
    """
    Make a report.
    """
    async with results.running(task_id, name="report", heartbeat=5) as task:
        for row in range(rows):
            await asyncio.sleep(0.1)
            await task.progress(row + 1, rows)
        task.result = {"rows": rows}
