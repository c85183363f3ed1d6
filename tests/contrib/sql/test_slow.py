"""
Servers that answer slowly: every operation ends in its time, whatever it is doing.
"""

from __future__ import annotations

import asyncio
import time

import pytest

import coatcheck
import coatcheck.aio
from coatcheck.testing.proxy import Proxy

TIMEOUT = 1.0
#: An operation that does not keep to its time takes many times as long here.
LONG = 30 * TIMEOUT


@pytest.fixture(params=["postgresql", "mariadb"])
def slow(request):
    """A server, a proxy before it, and the URL of that."""
    server = request.getfixturevalue(request.param)
    with coatcheck.by_url(server.url) as results:
        results.store_result("t", "x" * 1000)
    with Proxy("127.0.0.1", server.port) as proxy:
        yield proxy, server.url.replace(str(server.port), str(proxy.port))


@pytest.mark.parametrize("connected", [True, False])
def test_replies_that_trickle_in(slow, connected):
    """
    A reply that comes byte by byte, each in time, holds up no operation; neither does a login.
    """
    proxy, url = slow
    with coatcheck.by_url(url, operation_timeout=TIMEOUT) as results:
        if connected:
            results.expect("connects")
        proxy.spread(TIMEOUT / 2)
        for operate in (lambda: results.get_result("t"), lambda: results.store_result("u", 1)):
            start = time.monotonic()
            with pytest.raises(coatcheck.BackendUnavailableError):
                operate()
            assert time.monotonic() - start < LONG
        proxy.spread(0)
        results.close()

        assert "x" * 1000 == results.get_result("t")


async def test_replies_that_trickle_in_under_asyncio(slow):
    """
    The same for the side for asyncio.
    """
    proxy, url = slow
    async with coatcheck.aio.by_url(
        url.replace("mariadb:", "db+mariadb:"), operation_timeout=TIMEOUT
    ) as results:
        await results.expect("connects")
        proxy.spread(TIMEOUT / 2)
        start = time.monotonic()
        with pytest.raises(coatcheck.BackendUnavailableError):
            await asyncio.wait_for(results.get_result("t"), LONG)
        assert time.monotonic() - start < LONG
        proxy.spread(0)
