"""
Work comes to its end although its caller is cancelled.
"""

from __future__ import annotations

import asyncio
import gc

import pytest

from coatcheck.aio.plugin import Apart


class Work:
    """Work that goes on until it is let go."""

    def __init__(self, error=None):
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = ""
        self._error = error

    async def __call__(self):
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        self.ended = "done"
        if self._error is not None:
            raise self._error
        return "result"


async def cancelled(apart, work, **how):
    """Return a caller of *work* that is cancelled already."""
    caller = asyncio.ensure_future(apart.run(work, **how))
    await work.begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_the_result_is_that_of_the_work():
    """So is an error."""
    apart, work, failing = Apart(), Work(), Work(LookupError("no"))
    work.go.set()
    failing.go.set()

    assert await apart.run(work) == "result"
    with pytest.raises(LookupError, match="no"):
        await apart.run(failing)


async def test_a_cancelled_caller_goes_and_the_work_goes_on():
    """Whoever closes waits for it, and no longer than told."""
    apart, work = Apart(), Work()
    await cancelled(apart, work)

    await apart.wait(0.01)
    assert work.ended == ""
    work.go.set()
    await apart.wait(60.0)
    assert work.ended == "done"


async def test_work_can_be_stopped():
    """Where the work is only to listen, it is cancelled with its caller."""
    apart, work = Apart(), Work()
    await cancelled(apart, work, stop=True)

    await apart.wait(60.0)
    assert work.ended == "cancelled"


async def test_what_nobody_waits_for_is_disposed_of():
    """That goes on apart, too, and only for results that nobody got."""
    disposed = []

    async def dispose(result):
        await asyncio.sleep(0)
        disposed.append(result)

    apart, work = Apart(dispose), Work()
    await cancelled(apart, work)
    work.go.set()
    while not disposed:
        await apart.wait(60.0)
    await apart.run(work)

    assert disposed == ["result"]


async def test_an_error_that_nobody_hears_is_not_reported(caplog):
    """It is no mistake of the application's."""
    apart, work = Apart(), Work(OSError("late"))
    await cancelled(apart, work)
    work.go.set()
    await apart.wait(60.0)
    gc.collect()

    assert (work.ended, caplog.messages) == ("done", [])


async def test_work_that_is_cancelled_cancels_its_caller():
    """As where the loop ends."""
    apart = Apart()

    async def work():
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await apart.run(work)
