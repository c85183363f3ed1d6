"""
Asyncio swallows the exception of a signal handler in a callback. No wait loses its wake-up by that.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import coatcheck
import coatcheck.aio
from coatcheck.testing.interrupts import Limit, Profile
from coatcheck.testing.losses import lossy

CORE, ASYNCIO = (str(Path(module.__file__).parent) for module in (coatcheck, asyncio))
#: A wait that lost its wake-up times out after this many seconds.
PATIENCE = 20
#: The number of places to strike, unless all are.
SOME = 15


def is_ours(frame):
    """
    Return whether the loop runs this code for core: code of core, or functions of asyncio that it calls.
    """
    if not frame.f_code.co_filename.startswith((CORE, ASYNCIO)):
        return False
    ours = False
    while frame is not None:
        if frame.f_code.co_qualname == "Handle._run":
            return ours
        ours |= frame.f_code.co_filename.startswith(CORE)
        frame = frame.f_back
    return False


def run(act: Callable[[], Awaitable[int]], number: int = sys.maxsize) -> int:
    """
    Run *act* in a loop, and strike it at the place of that *number*. Return the number of places.
    """
    strike = Profile(number, Limit(), is_ours)

    async def profiled():
        sys.setprofile(strike)
        try:
            return await act()
        finally:
            sys.setprofile(None)

    try:
        assert 1 == asyncio.run(profiled())
    except Limit:
        assert strike.seen > number
    return strike.seen


async def wait_for_ready(url):
    """
    Wait for a result that is stored already.
    """
    async with coatcheck.aio.by_url(url) as results:
        await results.store_result("ready", 1)
        return (await results.wait_for("ready", PATIENCE)).result


async def wait_for_later(url):
    """
    Wait for a result that another thread stores.
    """
    id_ = uuid.uuid4().hex
    with coatcheck.by_url(url) as storing:
        timer = threading.Timer(0.03, storing.store_result, (id_, 1))
        async with coatcheck.aio.by_url(url) as results:
            timer.start()
            try:
                return (await results.wait_for(id_, PATIENCE)).result
            finally:
                timer.join()


async def wait_in_vain(url):
    """
    Wait until the timeout.
    """
    async with coatcheck.aio.by_url(url) as results:
        with pytest.raises(coatcheck.WaitTimeoutError):
            await results.wait_for("never", 0.05)
    return 1


WAITS = [wait_for_ready, wait_for_later, wait_in_vain]


def strike_places(wait, url, number):
    """
    Strike *wait* at *number* places, or at each.
    """

    def act():
        return wait(url)

    run(act)  # imports everything
    step = max(run(act) // number, 1)
    at = 0
    while run(act, at) > at:
        at += step
    assert at


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("store", ["memory://swallowed", "sqlite:///{}/results.db"])
@lossy
def test_an_exception_in_the_loop(wait, store, tmp_path):
    """
    A wait ends with its own outcome or with the exception, wherever the exception strikes.
    """
    strike_places(wait, store.format(tmp_path), SOME)


@pytest.mark.long
@pytest.mark.parametrize("wait", WAITS)
@lossy
def test_an_exception_anywhere_in_the_loop(wait):
    """
    The same at each place.
    """
    strike_places(wait, "memory://swallowed-anywhere", sys.maxsize)
