"""
A FastAPI application whose clients may repeat a request: the order is placed once.

    COATCHECK_URL=sqlite:///results.db uvicorn idempotent_app:app
"""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Header, Request
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


async def place_order(order: dict[str, object]) -> dict[str, object]:
    """
    Place an order. Twice would be a mistake.
    """
    return {"number": str(uuid.uuid4()), "items": order["items"]}


@app.post("/orders")
async def orders(request: Request, idempotency_key: Annotated[str, Header()]) -> dict[str, object]:
    """
    Place the order of this key, or return the answer that its first request got.
    """
    results: aio.Results = request.app.state.results
    order = await request.json()
    return await results.once(
        f"order:{idempotency_key}",
        place_order,
        order,
        fingerprint=await request.body(),
        timeout=20,
    )


@app.exception_handler(coatcheck.OnceConflictError)
async def conflict(_request: Request, error: Exception) -> JSONResponse:
    """
    Answer for a key that came with another order before.
    """
    return JSONResponse({"error": str(error)}, 422)


@app.exception_handler(coatcheck.WaitTimeoutError)
async def busy(_request: Request, _error: Exception) -> JSONResponse:
    """
    Answer for a key whose first request is still being worked on.
    """
    return JSONResponse({"error": "the first request is not done yet"}, 409)
