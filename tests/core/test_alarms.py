"""
One timer of the loop for many waits.
"""

import asyncio
import time

import pytest

from coatcheck._waiting.timers import GRID, Alarms


class Sleeper:
    """
    Remembers when it was woken.
    """

    def __init__(self):
        self.woken = []

    def notify(self):
        self.woken.append(time.monotonic())


@pytest.fixture
def alarms():
    """
    Nobody sleeps.
    """
    return Alarms()


async def test_nobody_is_woken_too_early(alarms):
    """
    Each is woken once, at its time or later.
    """
    start = time.monotonic()
    sleepers = {start + n / 100: Sleeper() for n in range(10)}
    for at, sleeper in sleepers.items():
        alarms.set(at, sleeper)

    await asyncio.sleep(0.2)

    assert [1] * 10 == [len(sleeper.woken) for sleeper in sleepers.values()]
    assert all(at <= sleeper.woken[0] for at, sleeper in sleepers.items())


async def test_those_at_about_the_same_time_share_a_timer(alarms):
    """
    Two within one step of the grid are one timer, which outlives the first that is taken back.
    """
    at = (int(time.monotonic() / GRID) + 100) * GRID  # a busy machine may pause between the two
    one, two = Sleeper(), Sleeper()
    place = alarms.set(at - GRID / 2, one)
    assert place == alarms.set(at - GRID / 4, two)

    alarms.unset(place, one)
    async with asyncio.timeout(30):
        while not two.woken:
            await asyncio.sleep(GRID)

    assert (0, 1) == (len(one.woken), len(two.woken))


async def test_nothing_is_left_of_what_was_taken_back(alarms):
    """
    The last one takes its timer with it; taking back twice, or after the time, is no error.
    """
    sleeper = Sleeper()
    place = alarms.set(time.monotonic() + 300, sleeper)
    timer = alarms._slots[place][0]
    alarms.unset(place, sleeper)
    alarms.unset(place, sleeper)

    assert {} == alarms._slots
    assert timer.cancelled()


async def test_a_time_that_has_passed(alarms):
    """
    A sleeper whose time has passed is woken at once.
    """
    sleeper = Sleeper()
    alarms.set(time.monotonic() - 1, sleeper)

    await asyncio.sleep(0.05)

    assert 1 == len(sleeper.woken)
    assert {} == alarms._slots


async def test_a_lost_timer_is_found(alarms):
    """
    A sleeper whose timer was cut short is woken by the next look for lost timers.
    """

    class Cut(Sleeper):
        def notify(self):
            super().notify()
            if len(self.woken) == 1:
                raise KeyError

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    sleeper = Cut()
    alarms.set(time.monotonic(), sleeper)
    await asyncio.sleep(0.05)
    assert 1 == len(sleeper.woken)

    alarms.ring_overdue(time.monotonic())
    alarms.ring_overdue(time.monotonic())

    assert 2 == len(sleeper.woken)
    assert {} == alarms._slots
