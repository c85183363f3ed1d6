"""
What bells that connect again are made of: when to try, and a call that ends a sleep on sockets.
"""

from __future__ import annotations

import os
import socket
import threading

import pytest

from coatcheck.plugin import Backoff, Waker


def test_pauses_double():
    """Up to the longest one; after a success they begin anew."""
    backoff = Backoff(0.5, 3.0, refused=60.0)

    assert backoff.left == 0
    assert [backoff.failed() for _ in range(4)] == [0.5, 1.0, 2.0, 3.0]
    assert 0 < backoff.left <= 3.0
    backoff.worked()
    assert backoff.failed() == 0.5
    assert backoff.failed(refused=True) == 60.0
    assert backoff.left > 3.0


@pytest.fixture
def waker():
    """A waker that is closed in the end."""
    made = Waker()
    yield made
    made.close()


def test_a_call_ends_a_sleep(waker):
    """It does so once, however often it comes before the sleep."""
    for _ in range(3):
        waker.wake()

    assert waker.sleep((), 60.0) == (set(), True)
    assert waker.sleep((), 0.0) == (set(), False)


def test_a_call_from_another_thread(waker):
    """The sleep that goes on ends."""
    thread = threading.Thread(target=waker.wake)
    thread.start()

    assert waker.sleep((), 60.0) == (set(), True)
    thread.join()


def test_a_socket_ends_a_sleep(waker):
    """The sleeper hears which one, and whether there was a call as well."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"!")

        assert waker.sleep([ours.fileno()], 60.0) == ({ours.fileno()}, False)
        waker.wake()
        assert waker.sleep([ours.fileno()], 60.0) == ({ours.fileno()}, True)


def test_any_number_of_calls(waker):
    """Nobody who calls waits, even where nobody sleeps, or nobody will."""
    for _ in range(10_000):
        waker.wake()

    assert waker.sleep((), 60.0)[1]
    waker.close()
    waker.wake()


def test_nothing_stays_open():
    """A waker that was closed has no descriptors."""
    before = len(os.listdir("/dev/fd"))
    Waker().close()

    assert len(os.listdir("/dev/fd")) == before
