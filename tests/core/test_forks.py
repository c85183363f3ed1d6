"""
State of a process is replaced once in a forked child, whoever forked, before anything uses it.
"""

import os
import subprocess
import sys
import threading

import pytest

from coatcheck._runtime import forks
from coatcheck._runtime.dice import random
from coatcheck.testing.forking import on_both_sides
from coatcheck.testing.threads import in_threads


class State:
    """Counts how often it was replaced."""

    def __init__(self):
        self.replaced = 0
        self.lock = threading.Lock()
        self.fails = False
        forks.register(self)

    def after_fork(self):
        self.lock = threading.Lock()
        forks.check()  # as what it is made of may do
        if self.fails:
            self.fails = False
            raise KeyboardInterrupt
        self.replaced += 1

    def use(self):
        forks.check()
        with self.lock:
            return self.replaced


def test_a_fork_in_c_is_noticed_once_by_all_threads():
    """
    A lock that the parent held is a new one, and no thread goes on before it is.
    """
    state = State()
    expected = {"parent": 0, "child": 1}

    def act(side):
        answers = in_threads([state.use] * 8)
        assert {expected[side]} == set(answers)
        assert expected[side] == state.use()

    with state.lock:
        on_both_sides(lambda side: side == "child" and act(side))
    on_both_sides(act)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_fork_of_python_is_noticed_by_its_hook():
    """
    There is nothing left to do for `check`, and a fork in C by that child is noticed again.
    """
    state = State()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            replaced = state.replaced
            on_both_sides(lambda side: os._exit(2) if state.use() != 1 + (side == "child") else 0)
            status = 0 if replaced == 1 else 3
        finally:
            os._exit(status)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_an_interruption_leaves_nothing_half_replaced():
    """
    What a signal handler interrupted is done from the start by the next use.
    """
    state, other = State(), State()
    state.fails = True

    def act(side):
        if side == "child":
            with pytest.raises(KeyboardInterrupt):
                state.use()
            assert 1 == state.use()
            assert 1 <= other.use()

    on_both_sides(act)


def test_state_that_is_gone_is_forgotten():
    """
    Nothing is kept alive by being registered.
    """
    before = len(forks._forkables)
    state = State()
    assert before + 1 == len(forks._forkables)

    del state

    assert before == len(forks._forkables)


def test_random_numbers_differ():
    """
    Two processes that a fork in C made do not look at the same moments.
    """
    reading, writing = os.pipe()

    def act(side):
        forks.check()
        os.write(writing, f"{side} {random()} {os.urandom(4).hex()}\n".encode())

    on_both_sides(act)

    lines = [line.split()[1:] for line in os.read(reading, 1000).decode().splitlines()]
    os.close(reading)
    os.close(writing)
    assert 4 == len({word for line in lines for word in line})


ENDED = """
import ctypes, gc, os, sys, threading, time
from coatcheck._runtime import forks
from coatcheck.testing.threads import in_threads

class Ended:
    def __init__(self):
        self.itself = self
        self.thread = threading.Thread(target=int)
        self.thread.start()

gc.disable()
ended = [Ended() for _ in range(20)]
if sys.argv[1] == "True":
    ended.clear()
time.sleep(0.05)  # until no other thread waits for the interpreter's lock
if ctypes.PyDLL(None).fork() == 0:
    forks.check()
    in_threads([int] * 30)
    ended.clear()
    gc.collect()
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.parametrize("garbage", [True, False])
def test_threads_that_the_parent_never_joined_do_not_crash_the_child(garbage):
    """
    After a fork in C their stacks are gone, above all once threads of the child have come and gone.
    """
    subprocess.run([sys.executable, "-c", ENDED, str(garbage)], check=True, timeout=60)
