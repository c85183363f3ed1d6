"""
State of event loops ends with them.
"""

from __future__ import annotations

import asyncio
import gc

import pytest

from coatcheck._runtime.loops import PerLoop


class Thing:
    """Something that is to be ended."""

    def __init__(self, ended):
        self._ended = ended

    async def end(self):
        await asyncio.sleep(0)
        self._ended.append(self)


@pytest.fixture
def ended():
    """What was ended, in this order."""
    return []


@pytest.fixture
def things(ended):
    return PerLoop(lambda: Thing(ended), Thing.end)


def test_one_value_for_each_loop(things):
    """A loop gets the same value again and again, and another loop another one."""

    async def use():
        return things.get(), things.get()

    (one, again), (other, _) = asyncio.run(use()), asyncio.run(use())

    assert one is again
    assert one is not other


def test_values_end_with_their_loops(things, ended):
    """What nobody took out is ended while its loop still runs."""

    async def use():
        return things.get()

    values = [asyncio.run(use()) for _ in range(2)]

    assert values == ended
    assert ({}, {}) == (things._values, things._farewells)


def test_what_is_taken_out_is_not_ended(things, ended):
    """Who takes a value out ends it himself; the next one is new."""

    async def use():
        value = things.get()
        assert value is things.pop()
        assert None is things.pop()
        return value, things.get()

    first, second = asyncio.run(use())

    assert first is not second
    assert [second] == ended


def test_loops_that_are_merely_closed(things, ended):
    """Of a loop that was not brought to its end the value is dropped by the next loop."""

    async def use():
        return things.get()

    loop = asyncio.new_event_loop()
    dropped = loop.run_until_complete(use())
    loop.close()
    kept = asyncio.run(use())
    gc.collect()

    assert dropped is not kept
    assert [kept] == ended
    assert {} == things._farewells


def test_a_value_for_the_end_itself(things, ended):
    """What is asked for when the loop is at its end is made, without a warning, and left alone."""

    async def late():
        try:
            yield
        finally:
            await asyncio.sleep(0.01)
            things.get()

    async def use():
        generator = late()
        await anext(generator)
        return generator, things.get()

    _, value = asyncio.run(use())

    assert [value] == ended
