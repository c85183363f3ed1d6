"""
More backends that are broken on purpose: the logs of tasks.
"""

from __future__ import annotations

import time

from broken import BrokenProof, Whole, proofs_of

from coatcheck import Capability
from coatcheck.plugin import Log

#: The backend's name, and the test of each side that has to notice.
NOTICED = {
    "NumbersTwice": "test_racing_events",
    "LeavesGaps": "test_racing_events",
    "ReordersEvents": "test_racing_events",
    "AppendsInSilence": "test_events_arrive",
    "AppendsAfterTheEnd": "test_no_event_after_the_end",
    "KeepsEverything": "test_events_are_bounded",
    "CountsWhatIsKept": "test_events_are_bounded",
    "ReadsAll": "test_events",
    "RemembersTheForgotten": "test_log_ends_with_its_record",
    "LosesTheLog": "test_log_ends_with_its_record",
    "ClaimsEvents": "test_events",
}


class NumbersTwice(Whole):
    """Reads the last number first, and appends then."""

    def append(self, key, value, events, **how):
        last = self.get_log(key).last
        time.sleep(0.001)  # as long as a network takes
        number = super().append(key, value, events, **how)
        return None if number is None else last + len(events)


class LeavesGaps(Whole):
    """Counts the tries, too."""

    def append(self, key, value, events, **how):
        number = super().append(key, value, events, **how)
        if number is not None:
            self._space.logs[key].last += 1
        return number


class ReordersEvents(Whole):
    """Returns the newest first."""

    def get_log(self, key, after=0):
        log = super().get_log(key, after)
        return Log(log.events[::-1], log.last)


class AppendsInSilence(Whole):
    """Rings for no event."""

    def append(self, key, value, events, **how):
        bells, self._space.bells = self._space.bells, frozenset()
        try:
            return super().append(key, value, events, **how)
        finally:
            self._space.bells = bells


class AppendsAfterTheEnd(Whole):
    """Appends where the record is refused."""

    def append(self, key, value, events, **how):
        number = super().append(key, value, events, **how)
        if number is None:
            for event in events:
                self._space.logs[key].append(event)
        return number


class KeepsEverything(Whole):
    """Drops no event."""

    kept: dict = {}

    def append(self, key, value, events, **how):
        number = super().append(key, value, events, **how)
        if number is not None:
            self.kept[key] = [*self.kept.get(key, []), *events][-number:]
        return number

    def get_log(self, key, after=0):
        log = super().get_log(key, after)
        return Log(self.kept.get(key, [])[after:], log.last)


class CountsWhatIsKept(Whole):
    """Takes the number of kept events for that of the last one."""

    def get_log(self, key, after=0):
        log = super().get_log(key)
        return Log(log.events[after:], len(log.events))


class ReadsAll(Whole):
    """Returns the events from the start, as if they were the new ones."""

    def get_log(self, key, after=0):
        log = super().get_log(key)
        return Log(log.events, log.last + after)


class RemembersTheForgotten(Whole):
    """Deletes the record alone."""

    def delete_many(self, keys):
        logs = dict(self._space.logs)
        count = super().delete_many(keys)
        self._space.logs.update(logs)
        return count

    def append(self, key, value, events, **how):
        log = self._space.logs.get(key)
        if log is not None and key not in self._space.records:
            self._space.records[key] = (value, float("inf"))
        return super().append(key, value, events, **how)


class LosesTheLog(Whole):
    """Drops the log when the record is written without an event."""

    def put(self, key, value, **how):
        won = super().put(key, value, **how)
        self._space.logs.pop(key, None)
        return won


class ClaimsEvents(Whole):
    """Declares what it cannot do."""

    capabilities = Whole.capabilities | Capability.EVENTS

    def append(self, key, value, events, **how):
        raise self._lacks_events()


globals().update(proofs_of(__name__, NOTICED, BrokenProof))
