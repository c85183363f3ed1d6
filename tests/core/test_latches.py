"""
A latch wakes one task, however often the wake-up is cut short.
"""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from coatcheck._runtime.latch import Latch
from coatcheck.testing.interrupts import Limit, interrupt, places

LONG = 60.0


async def asleep(latch: Latch) -> asyncio.Task[None]:
    """
    Return a task that sleeps on *latch*.
    """
    task = asyncio.create_task(latch.sleep(LONG))
    await asyncio.sleep(0)
    return task


async def test_a_set_ends_the_sleep():
    """
    A latch that is set ends the sleep that goes on, or else the next one, and only that one.
    """
    latch = Latch()
    sleeper = await asleep(latch)
    latch.set()
    await sleeper

    latch.set()
    assert latch.is_set()
    await latch.sleep(LONG)
    assert not latch.is_set()
    await latch.sleep(0.0)
    latch.set()
    latch.clear()
    await latch.sleep(0.01)


async def test_a_set_that_is_cut_short_can_be_repeated():
    """
    Wherever an exception strikes `set`, a second call wakes the task. Further calls do nothing.
    """
    latch = Latch()
    sleeper = await asleep(latch)
    number = places(latch.set)
    await sleeper
    assert number > 3

    for at in range(number):
        sleeper = await asleep(latch)
        struck = interrupt(latch.set, at, Limit())
        assert isinstance(struck.error, Limit)
        for _ in range(3):
            latch.set()
        await sleeper
        latch.clear()


async def test_a_sleep_is_cancelled_after_a_set_that_was_cut_short():
    """
    A cancellation of the task meets no wake-up twice, wherever an exception struck `set` before.
    """
    latch = Latch()
    for at in range(20):
        sleeper = await asleep(latch)
        interrupt(latch.set, at, Limit())
        sleeper.cancel()
        latch.set()
        with pytest.raises(asyncio.CancelledError):
            await sleeper
        latch.clear()
        await asyncio.sleep(0)


async def test_a_context_belongs_to_its_task():
    """
    A task goes on in its own context, whoever wakes it.
    """
    name = contextvars.ContextVar("name", default="none")
    latch = Latch()

    async def sleep():
        name.set("sleeper")
        await latch.sleep(LONG)
        return name.get()

    sleeper = asyncio.create_task(sleep())
    await asyncio.sleep(0)
    name.set("waker")
    latch.set()

    assert ("sleeper", "waker") == (await sleeper, name.get())
