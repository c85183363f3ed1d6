"""
A name server that says nothing: operations end in their time all the same.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

import coatcheck
import coatcheck.aio
from coatcheck.testing.proof import PATIENCE

URLS = [
    "redis://store.test:1/0",
    "redis+cluster://store.test:1",
    "sentinel://store.test:1/0?master_name=m",
    "memcached://store.test:1",
    "mongodb://store.test:1/results",
    "postgresql://u@store.test:1/app",
    "mariadb://u@store.test:1/app",
]


@pytest.fixture(autouse=True)
def silent(monkeypatch):
    """A name server that answers only when the test is over."""
    over, real = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host, *args, flags=0, **options):
        if host not in ("store.test", b"store.test") or flags == socket.AI_NUMERICHOST:
            return real(host, *args, flags=flags, **options)
        over.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    over.set()


@pytest.mark.parametrize("url", URLS)
def test_an_operation_ends_in_its_time(url):
    """A store of which only the name is known is away when the time of an operation is over."""
    began = time.monotonic()
    with coatcheck.by_url(url, operation_timeout=0.5) as results:
        with pytest.raises(coatcheck.BackendUnavailableError):
            results.store_result("t", 1)
        # Next to what a lookup takes that nobody bounds.
        assert time.monotonic() - began < PATIENCE / 2
        with pytest.raises(coatcheck.WaitTimeoutError):
            results.wait_for("t", 0.1)

        assert time.monotonic() - began < PATIENCE / 2


@pytest.mark.parametrize("url", [url for url in URLS if not url.startswith(("mongodb", "mariadb"))])
def test_an_operation_and_its_loop_end_in_their_time(url):
    """Under asyncio too, and the end of the loop does not wait for the name server either."""

    async def use():
        async with coatcheck.aio.by_url(url, operation_timeout=0.5) as results:
            with pytest.raises(coatcheck.BackendUnavailableError):
                await results.store_result("t", 1)
            with pytest.raises(coatcheck.WaitTimeoutError):
                await results.wait_for("t", 0.1)

    began = time.monotonic()
    asyncio.run(use())

    assert time.monotonic() - began < PATIENCE / 2
