"""
The gateway as an application of its own, served by uvicorn.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from coatcheck.aio import Results

from .gateway import gateway


def run(results: Results, *, host: str, port: int, token: str | None, writable: bool) -> None:
    """Serve *results* until a signal ends it, and close them."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with results:
            yield

    app = gateway(results, token=token, writable=writable)
    served = Starlette(routes=[Mount("/", app)], lifespan=lifespan)
    uvicorn.run(served, host=host, port=port, access_log=False)
