"""
Bells that are broken on purpose. Their backend keeps records in memory, and has a line to them that
a test can cut.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

from broken import BrokenProof, Whole, proofs_of

from coatcheck._backends.bells import LocalBell

#: The backend's name, and the test of each side that has to notice.
NOTICED = {
    "NeverListensAgain": "test_rings_after_a_cut",
    "SaysThatItPushes": "test_rings_after_a_cut",
    "RingsNobodyAfterwards": "test_rings_after_a_cut",
    "RingsOneAfterwards": "test_rings_after_a_cut",
    "RaisesWhenCut": "test_rings_after_a_cut",
    "RingsTooEarly": "test_rings_when_it_can_be_read",
    "RingsForOneOfMany": "test_rings_for_each_of_a_batch",
    "DiscardsAll": "test_discard",
    "NeverDiscards": "test_what_is_discarded_is_given_up",
    "AddsLate": "test_watch_is_a_barrier",
    "WakesTooLate": "test_wake",
    "ReturnsNothing": "test_rings",
    "PushesForItsOwn": "test_rings",
    "HangsInWait": "test_no_lock_while_listening",
}


class WiredBell(LocalBell):
    """A bell whose line can be cut; it listens again in the next wait, and rings for all."""

    def __init__(self, space):
        super().__init__()
        self.space = space
        self.connected = True

    @property
    def pushing(self):
        return self.connected

    def cut(self):
        """Lose the line: writes do not ring now."""
        self.connected = False
        with self.space.lock:
            self.space.bells -= {self}
        self.wake()

    def listen_again(self):
        with self.space.lock:
            self.space.bells |= {self}
        self.connected = True

    def after_reconnect(self):
        """Return the keys that ring."""
        return self._keys

    def wait(self, timeout):
        if not self.connected:
            self.listen_again()
            if self.connected:
                for key in list(self.after_reconnect()):
                    self.ring(key)
        return super().wait(timeout)


class Wired(Whole):
    """Has bells that can be cut, and is not broken."""

    Bell = WiredBell

    @contextmanager
    def watch(self, keys=()):
        bell = self.Bell(self._space)
        bell.add(keys)
        bell.listen_again()
        try:
            yield bell
        finally:
            with self._space.lock:
                self._space.bells -= {bell}


class NeverListensAgain(Wired):
    """Says that it no longer pushes, and leaves it at that."""

    class Bell(WiredBell):
        def listen_again(self):
            if self.connected:
                super().listen_again()


class SaysThatItPushes(NeverListensAgain):
    """Does not even say so."""

    class Bell(NeverListensAgain.Bell):
        pushing = True


class RingsNobodyAfterwards(Wired):
    """Listens again, and trusts that nothing was written meanwhile."""

    class Bell(WiredBell):
        def after_reconnect(self):
            return ()


class RingsOneAfterwards(Wired):
    """Rings for the first of its keys after a reconnect."""

    class Bell(WiredBell):
        def after_reconnect(self):
            return sorted(self._keys)[:1]


class RaisesWhenCut(Wired):
    """Lets an error of the line out of a wait."""

    class Bell(WiredBell):
        def wait(self, timeout):
            if not self.connected:
                self.listen_again()
                raise ConnectionResetError("the line was cut")
            return super().wait(timeout)


class RingsTooEarly(Wired):
    """Rings before a reader can see the record."""

    def put(self, key, value, **how):
        for bell in self._space.bells:
            bell.ring(key)
        time.sleep(0.5)  # longer than a busy machine takes to read
        bells, self._space.bells = self._space.bells, frozenset()
        try:
            return super().put(key, value, **how)
        finally:
            self._space.bells |= bells


class RingsForOneOfMany(Wired):
    """Rings for the first of a batch."""

    def put_many(self, items, **how):
        won = super().put_many(items[:1], **how)
        bells, self._space.bells = self._space.bells, frozenset()
        won += super().put_many(items[1:], **how)
        self._space.bells |= bells
        return won


class DiscardsAll(Wired):
    """Ends the whole subscription for one key of it."""

    class Bell(WiredBell):
        def discard(self, keys):
            self._keys.clear()


class NeverDiscards(Wired):
    """Keeps keys that nobody waits for any more."""

    class Bell(WiredBell):
        def discard(self, keys):
            pass


class AddsLate(Wired):
    """Is not yet listening when `add` returns."""

    class Bell(WiredBell):
        def add(self, keys):
            if self in self.space.bells:
                threading.Timer(0.3, super().add, (keys,)).start()
            else:
                super().add(keys)


class WakesTooLate(Wired):
    """Looks whether it was woken when the wait is over."""

    class Bell(WiredBell):
        def wait(self, timeout):
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline and not self._rang:
                time.sleep(0.01)
            return super().wait(0)

        def wake(self):
            pass


class ReturnsNothing(Wired):
    """Wakes up, and names no key."""

    class Bell(WiredBell):
        def wait(self, timeout):
            super().wait(timeout)
            return []


class PushesForItsOwn(Wired):
    """Rings only for writes of the same client."""

    @contextmanager
    def watch(self, keys=()):
        with super().watch(keys) as bell:
            self.bells = {*getattr(self, "bells", ()), bell}
            yield bell

    def put(self, key, value, **how):
        bells, self._space.bells = self._space.bells, frozenset()
        try:
            won = super().put(key, value, **how)
        finally:
            self._space.bells |= bells
        for bell in getattr(self, "bells", ()):
            bell.ring(key)
        return won


class HangsInWait(Wired):
    """Holds a lock that the operations need while it waits."""

    def __init__(self, name=None):
        super().__init__(name)
        self.connection = threading.Lock()

    @contextmanager
    def watch(self, keys=()):
        with super().watch(keys) as bell:
            wait = bell.wait

            def locked(timeout):
                with self.connection:
                    return wait(timeout)

            bell.wait = locked
            yield bell

    def get_many(self, keys):
        with self.connection:
            return super().get_many(keys)


class WiredProof(BrokenProof):
    """Can cut the lines, and counts the subscribed bells."""

    def cut(self):
        for bell in self.space.bells:
            bell.cut()

    def open_resources(self):
        return sum(1 + len(bell._keys) for bell in self.space.bells)


globals().update(proofs_of(__name__, ["Wired", *NOTICED], WiredProof))
