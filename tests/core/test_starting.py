"""
Calls that no signal handler can break off.
"""

import os
import random
import signal
import threading
from contextvars import ContextVar
from functools import partial

import pytest

from coatcheck._runtime import starting
from coatcheck._runtime.starting import start, undisturbed
from coatcheck.testing.forking import on_both_sides
from coatcheck.testing.interrupts import Limit
from coatcheck.testing.threads import Started, until

VARIABLE = ContextVar("variable", default="none")


def helpers():
    """Return the threads that do what the main thread hands over."""
    return [t for t in threading.enumerate() if t.name == "coatcheck-undisturbed"]


def test_locks_are_not_left_locked():
    """
    A condition, which is written in Python, is free after thousands of alarms, and each call that was
    not interrupted returns what it is to.
    """

    def strike(*_):
        raise Limit

    condition, rounds, struck = threading.Condition(), 0, 0

    def act(number):
        with condition:
            return number

    before = signal.signal(signal.SIGALRM, strike)
    try:
        while struck < 2000:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.0003))
                for number in range(20):
                    assert number == undisturbed(partial(act, number))
                    rounds += 1
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Limit:
                struck += 1
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert rounds
    Started(act, 1).answer()
    until(lambda: not helpers())


def test_it_is_another_thread_where_handlers_run():
    """
    In the main thread alone.
    """
    assert threading.main_thread() is not undisturbed(threading.current_thread)
    other = Started(lambda: undisturbed(threading.current_thread) is threading.current_thread())
    assert other.answer()


def test_what_is_raised_and_returned():
    """
    An error of the call is raised, with where it came from; context variables have their values.
    """
    token = VARIABLE.set("one")
    assert "one" == undisturbed(VARIABLE.get)
    undisturbed(lambda: VARIABLE.set("two"))
    assert "one" == VARIABLE.get()
    VARIABLE.reset(token)

    with pytest.raises(ZeroDivisionError) as raised:
        undisturbed(lambda: 1 / 0)
    assert "<lambda>" == raised.traceback[-1].name


def test_an_error_of_a_handler_that_is_also_ours():
    """
    What a handler raises comes out as it is, whatever class it has.
    """

    def strike(*_):
        raise IndexError("of the handler")

    before = signal.signal(signal.SIGUSR1, strike)
    try:
        with pytest.raises(IndexError, match="of the handler"):
            undisturbed(lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1))
            undisturbed(lambda: threading.Event().wait(30))
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_no_thread_is_left_for_a_fork():
    """
    Python warns where a process with threads forks; no thread of this is the reason.
    """
    undisturbed(int)
    assert helpers()

    starting._helpers.before_fork()

    assert not helpers()
    assert 0 == undisturbed(int)


def test_after_a_fork_in_c():
    """
    The parent's threads are not the child's.
    """
    undisturbed(int)

    on_both_sides(lambda side: [undisturbed(os.getpid) for _ in range(9)])


def test_without_another_thread(monkeypatch):
    """
    Where no thread can be started the main thread does it after all.
    """

    def refuse(*_):
        raise RuntimeError("can't start new thread")

    starting._helpers.before_fork()
    monkeypatch.setattr(starting._thread, "start_new_thread", refuse)

    assert threading.main_thread() is undisturbed(threading.current_thread)


def test_without_a_named_thread(monkeypatch):
    """
    Where just one can be started that does it.
    """
    starting._helpers.before_fork()
    started = threading.Thread.start

    def refuse(thread):
        if thread.name == "coatcheck-undisturbed":
            raise RuntimeError("can't start new thread")
        started(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    thread = threading.Thread(target=int)
    start(thread)

    thread.join()
