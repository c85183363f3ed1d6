"""
Bells: a ring between the look and the wait is not lost.
"""

import itertools
import sys
import threading

from coatcheck._backends.bells import Bell, LocalBell


def test_a_bell_that_never_rings_only_sleeps():
    """
    The plain bell returns no keys, and takes any keys.
    """
    bell = Bell()
    bell.add(["a"])
    bell.discard(["b"])

    assert [] == [*bell.wait(0.0)]
    assert bell.pushing is False


def test_waking_ends_the_next_wait():
    """
    A wake-up before the wait ends it, once.
    """
    for bell in (Bell(), LocalBell()):
        bell.wake()
        bell.wait(60.0)

        assert [] == [*bell.wait(0.0)]


def test_waking_ends_the_wait_that_goes_on():
    """
    A wake-up from another thread ends the wait.
    """
    for bell in (Bell(), LocalBell()):
        thread = threading.Thread(target=bell.wake)
        thread.start()

        assert [] == [*bell.wait(60.0)]
        thread.join()


def test_a_ring_latches():
    """
    What rang before the wait is returned by it, each key once.
    """
    bell = LocalBell()
    bell.add(["a", "b"])
    for key in ("a", "b", "a"):
        bell.ring(key)

    assert {"a", "b"} == bell.wait(60.0)
    assert set() == bell.wait(0.0)
    assert bell.pushing is True


def test_only_subscribed_keys_ring():
    """
    A key that nobody listens for, or no longer, does not ring.
    """
    bell = LocalBell()
    bell.add(["a", "b"])
    bell.discard(["b", "unknown"])
    for key in ("b", "c"):
        bell.ring(key)

    assert set() == bell.wait(0.0)


def test_rings_from_many_threads_all_arrive():
    """
    However many threads ring at once, every key is returned by some wait.
    """
    bell = LocalBell()
    keys = {f"{thread}-{number}" for thread in range(8) for number in range(200)}
    bell.add(keys)
    start = threading.Barrier(8)

    def ring(thread):
        start.wait()
        for number in range(200):
            bell.ring(f"{thread}-{number}")

    threads = [threading.Thread(target=ring, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    rang = set()
    while any(thread.is_alive() for thread in threads):
        rang |= bell.wait(0.01)
    rang |= bell.wait(0.0)

    assert keys == rang


def test_a_bell_can_be_woken_in_the_middle_of_everything():
    """
    A signal handler may ring and wake a bell at any moment, also while the same thread does so.
    """
    bell = LocalBell()
    bell.add(["a"])
    for act in (bell.wake, lambda: bell.ring("a"), lambda: bell.wait(0.0)):
        for moment in range(20):
            events = itertools.count()

            def handle(frame, event, arg, moment=moment, events=events):
                if next(events) == moment:
                    bell.ring("a")
                    bell.wake()

            sys.setprofile(handle)
            try:
                act()
            finally:
                sys.setprofile(None)

    bell.wake()
    bell.wait(60.0)
