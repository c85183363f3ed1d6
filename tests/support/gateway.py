"""
`coatcheck serve` as a process, and a reader of server-sent events.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from .processes import free_port, serve, until


@dataclass
class Gateway:
    """A gateway that runs."""

    url: str
    log: Path

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, **options)


def ask(
    app: Any,
    method: str,
    path: str,
    *,
    client: str = "127.0.0.1",
    host: str = "localhost",
    **options: Any,
) -> httpx.Response:
    """
    Return the answer of the application *app*, without a server, to a *client* that calls it *host*.
    """
    transport = httpx.ASGITransport(app, client=(client, 1))

    async def answer() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as asking:
            return await asking.request(method, path, **options)

    return asyncio.run(answer())


@contextmanager
def running_gateway(
    store: str, directory: Path, *options: str, token: str = ""
) -> Iterator[Gateway]:
    """
    Serve the tasks in *store*.
    """
    port = free_port()
    gateway = Gateway(f"http://127.0.0.1:{port}", directory / "gateway.log")
    command = [sys.executable, "-m", "coatcheck", "serve", "--backend", store, "--port", str(port)]
    with gateway.log.open("wb") as log:
        process = serve(
            [*command, *options, *(["--token", token] if token else [])],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: _answers(gateway, process), patience=90)
        yield gateway
    finally:
        process.terminate()
        process.wait(30)


def _answers(gateway: Gateway, process: subprocess.Popen[Any]) -> bool:
    if process.poll() is not None:
        raise RuntimeError(gateway.log.read_text())
    try:
        httpx.get(gateway.url)
    except httpx.TransportError:
        return False
    return True


@dataclass
class SSE:
    """One server-sent event."""

    id: str = ""
    event: str = ""
    data: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def read_events(response: httpx.Response) -> Iterator[SSE]:
    """
    Parse a stream of events, as the standard of HTML says. Comments are left out.
    """
    event = SSE()
    for line in response.iter_lines():
        field, _, value = line.partition(": ")
        if not line:
            if event.data:
                yield event
            event = SSE()
        elif field in ("id", "event"):
            setattr(event, field, value)
        elif field == "data":
            event.data += value
