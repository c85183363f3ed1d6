"""
An application for servers that fork: it uses its stores before they do, and in each request.

GET /NAME stores, reads and waits on the store NAME, and answers "ok"; an error is the answer, too.
"""

from __future__ import annotations

import asyncio
import json
import os
import traceback
import uuid
from typing import Any

import coatcheck
from coatcheck import aio

URLS: dict[str, str] = json.loads(os.environ["COATCHECK_URLS"])
RESULTS = {name: coatcheck.by_url(url) for name, url in URLS.items()}
AIO = {name: aio.by_url(url) for name, url in URLS.items()}
PATIENCE = 30
ROUNDS = 5


def use(name: str) -> None:
    """
    Check that each answer fits its question.
    """
    results = RESULTS[name]
    for _ in range(ROUNDS):
        id_ = str(uuid.uuid4())
        with results.running(id_, heartbeat=5) as task:
            task.result = id_
        assert results.get_result(id_) == id_
        assert results.AsyncResult(id_).get(timeout=PATIENCE) == id_


async def aio_use(name: str) -> None:
    """
    The same under asyncio.
    """
    results = AIO[name]
    for _ in range(ROUNDS):
        id_ = str(uuid.uuid4())
        async with results.running(id_, heartbeat=5) as task:
            task.result = id_
        assert await results.get_result(id_) == id_
        assert await results.AsyncResult(id_).get(timeout=PATIENCE) == id_


for store in RESULTS:
    use(store)
# Not on a store that threads serve: after a fork without hooks Python waits for such threads at its
# end, whoever started them.
asyncio.run(aio_use("redis"))


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """
    WSGI.
    """
    try:
        use(environ["PATH_INFO"].strip("/"))
        answer = "ok"
    except Exception:
        answer = traceback.format_exc()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {answer}".encode()]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """
    ASGI.
    """
    if scope["type"] != "http":
        raise RuntimeError("requests alone")
    try:
        await aio_use(scope["path"].strip("/"))
        answer = "ok"
    except Exception:
        answer = traceback.format_exc()
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": f"{os.getpid()} {answer}".encode()})
