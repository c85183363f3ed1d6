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
from coatcheck.errors import ConfigurationError

from .access import is_local
from .gateway import gateway


def run(results: Results, *, host: str, port: int, token: str | None, writable: bool) -> None:
    """
    Serve *results* until a signal ends it, and close them.

    Raises `ConfigurationError` for a *host* that lets other machines in although there is no *token*.
    """
    if token is None and not is_local(host):
        raise ConfigurationError(
            f"--host {host} lets other machines in: set COATCHECK_TOKEN, or listen on 127.0.0.1"
        )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with results:
            yield

    app = gateway(results, token=token, writable=writable)
    served = Starlette(routes=[Mount("/", app)], lifespan=lifespan)
    uvicorn.run(served, host=host, port=port, access_log=False)
