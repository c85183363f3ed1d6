"""
More backends that are broken on purpose: elections, lives, batches, keys, bytes and scans.
"""

from __future__ import annotations

import json
import time
import unicodedata

from broken import BrokenProof, Whole, proofs_of

from coatcheck._backends.backend import ANY
from coatcheck.states import READY_STATES

#: The backend's name, and the test of each side that has to notice.
NOTICED = {
    "ProtectsTheSameAlways": "test_protect",
    "TakesAnyForNothing": "test_write_only_if_absent",
    "MatchesUnlessReady": "test_model",
    "MatchesByState": "test_if_match",
    "MatchesWhatIsAbsent": "test_if_match",
    "AlwaysWins": "test_first_ready_wins",
    "TakesLikeForItself": "test_same_write_again",
    "RefusesItselfInBatches": "test_same_write_again",
    "LooksAtTheFirstBytes": "test_foreign_key_order",
    "ReplacesWhatItCannotRead": "test_sealed_records",
    "CountsFromTheFirstWrite": "test_every_write_restarts_life",
    "CountsWholeSeconds": "test_expires[0.5]",
    "CountsMinutes": "test_life_in_the_store[90.7]",
    "KeepsBatches": "test_batch_expires",
    "MatchesWhatExpired": "test_expired_matches_nothing",
    "ShowsWhatExpired": "test_expires[1]",
    "PurgesTheLiving": "test_expired_is_purged",
    "PurgesNothing": "test_expired_is_purged",
    "DeletesWhatExpired": "test_reads_leave_what_expired",
    "DeletesWhatExpiredLater": "test_readers_beside_writers",
    "CountsRequests": "test_delete_many",
    "CapsBatches": "test_many",
    "RaisesForAbsent": "test_some_absent",
    "AnswersMore": "test_some_absent",
    "AnswersOutOfOrder": "test_many",
    "DeletesByPrefix": "test_delete_many",
    "TrimsKeys": "test_ids_do_not_touch",
    "NormalisesKeys": "test_ids_do_not_touch",
    "TruncatesKeys": "test_ids_do_not_touch",
    "KeepsText": "test_every_byte",
    "CutsAtZero": "test_every_byte",
    "TrimsValues": "test_every_byte",
    "RewritesJSON": "test_every_byte",
    "ScanDeletes": "test_reads_change_nothing",
    "ScanCaps": "test_scan",
    "ScanDoubles": "test_scan",
    "ScanBreaksOff": "test_scan_while_written",
    "ScanShowsExpired": "test_scan_leaves_out_what_expired",
    "ClaimsToPush": "test_rings",
    "ClaimsToBeShared": "test_other_processes",
}


# -- elections --------------------------------------------------------------------------------


class ProtectsTheSameAlways(Whole):
    """Ignores which states are protected."""

    def put(self, key, value, *, unless, **how):
        return super().put(key, value, unless=unless if unless is ANY else READY_STATES, **how)


class TakesAnyForNothing(Whole):
    """Takes `ANY` for a set without states."""

    def put(self, key, value, *, unless, **how):
        return super().put(key, value, unless=frozenset() if unless is ANY else unless, **how)


class MatchesUnlessReady(Whole):
    """Considers the states even if it replaces one exact record."""

    def put(self, key, value, *, unless, if_match=None, expires):
        current = self._space.living(key, time.monotonic())
        if if_match is not None and current is not None and not self._replaceable(current, unless):
            return current == value
        return super().put(key, value, unless=unless, if_match=if_match, expires=expires)


class MatchesByState(Whole):
    """Takes every record in the same state for the one that was seen."""

    def put(self, key, value, *, if_match=None, **how):
        current = self._space.living(key, time.monotonic())
        if None not in (if_match, current) and self.codec.state_of(current) == self.codec.state_of(
            if_match
        ):
            if_match = current
        return super().put(key, value, if_match=if_match, **how)


class MatchesWhatIsAbsent(Whole):
    """Writes over a record that is gone."""

    def put(self, key, value, *, if_match=None, **how):
        if self._space.living(key, time.monotonic()) is None:
            if_match = None
        return super().put(key, value, if_match=if_match, **how)


class AlwaysWins(Whole):
    """Does not say that it was refused."""

    def put(self, *args, **how):
        super().put(*args, **how)
        return True


class TakesLikeForItself(Whole):
    """Does not compare the random part of a write."""

    def put(self, key, value, **how):
        current = self._space.living(key, time.monotonic())
        return super().put(key, value, **how) or self.bare(current) == self.bare(value)

    def bare(self, value):
        document = self.codec.decode("t", value).document
        return {k: v for k, v in document.items() if k in ("status", "result")}


class RefusesItselfInBatches(Whole):
    """Takes a repeated write for another's, in a batch."""

    def put_many(self, items, **how):
        return [
            self._space.living(key, time.monotonic()) != value and self.put(key, value, **how)
            for key, value in items
        ]


class LooksAtTheFirstBytes(Whole):
    """Takes a record that does not begin with its state for unready."""

    def _replaceable(self, current, unless):
        start = b'{"status": "SUCCESS"'
        return current[: len(start)] != start or super()._replaceable(current, unless)


class ReplacesWhatItCannotRead(Whole):
    """Knows the state of JSON only."""

    def _replaceable(self, current, unless):
        if unless is ANY:
            return False
        try:
            return json.loads(current)["status"] not in unless
        except ValueError:
            return True


# -- lives ------------------------------------------------------------------------------------


class CountsFromTheFirstWrite(Whole):
    """Keeps the end of the first record's life."""

    def put(self, key, value, **how):
        before = self._space.records.get(key) if self._space.living(key, time.monotonic()) else None
        won = super().put(key, value, **how)
        if won and before is not None:
            self._space.records[key] = (self._space.records[key][0], before[1])
        return won


class CountsWholeSeconds(Whole):
    """Rounds a life down."""

    def put(self, key, value, *, expires, **how):
        return super().put(key, value, expires=expires and int(expires), **how)


class CountsMinutes(Whole):
    """Rounds a life up, and does not say by how much."""

    def put(self, key, value, *, expires, **how):
        return super().put(key, value, expires=expires and -(-expires // 60) * 60, **how)


class KeepsBatches(Whole):
    """Forgets the life of a batch."""

    def put_many(self, items, *, unless, expires):
        return super().put_many(items, unless=unless, expires=None)


class MatchesWhatExpired(Whole):
    """Writes over an expired record."""

    def put(self, key, value, *, if_match=None, **how):
        stored = self._space.records.get(key, (None, 0))[0]
        if (
            if_match is not None
            and stored == if_match
            and self._space.living(key, time.monotonic()) is None
        ):
            if_match = None
        return super().put(key, value, if_match=if_match, **how)


class ShowsWhatExpired(Whole):
    """Relies on the purge to hide expired records."""

    def get_many(self, keys):
        records = self._space.records
        return {key: records[key][0] for key in keys if key in records}


class PurgesTheLiving(Whole):
    """Purges records that will expire some day."""

    def purge(self):
        mortal = [key for key, (_, end) in self._space.records.items() if end < float("inf")]
        return self.delete_many(mortal)


class PurgesNothing(Whole):
    """Believes that the store does it."""

    def purge(self):
        return 0


class DeletesWhatExpired(Whole):
    """Clears up when it reads."""

    def get_many(self, keys):
        found = super().get_many(keys)
        for key in set(keys) - set(found):
            self._space.records.pop(key, None)
        return found


class DeletesWhatExpiredLater(Whole):
    """Does so a moment later, over a slow network."""

    def get_many(self, keys):
        found = super().get_many(keys)
        gone = [key for key in set(keys) - set(found) if key in self._space.records]
        if gone:
            time.sleep(0.05)
            for key in gone:
                self._space.records.pop(key, None)
        return found


# -- batches ----------------------------------------------------------------------------------


class CountsRequests(Whole):
    """Counts the keys to delete."""

    def delete_many(self, keys):
        super().delete_many(keys)
        return len(keys)


class CapsBatches(Whole):
    """Reads the first hundred."""

    def get_many(self, keys):
        return super().get_many(list(keys)[:100])


class RaisesForAbsent(Whole):
    """Reads one by one, and takes absent ones for an error."""

    def get_many(self, keys):
        found = super().get_many(keys)
        return {key: found[key] for key in keys}


class AnswersMore(Whole):
    """Answers with neighbours as well."""

    def get_many(self, keys):
        start = tuple(key[:-1] for key in keys)
        return super().get_many([key for key in list(self._space.records) if key.startswith(start)])


class AnswersOutOfOrder(Whole):
    """Answers as the answers come."""

    def put_many(self, items, **how):
        return super().put_many(items, **how)[::-1]


class DeletesByPrefix(Whole):
    """Takes keys for patterns when it deletes."""

    def delete_many(self, keys):
        everything = list(self._space.records)
        return super().delete_many([k for k in everything if k.startswith(tuple(keys))])


# -- keys and bytes ---------------------------------------------------------------------------


class Renames(Whole):
    """Has another name for each key."""

    def name(self, key):
        raise NotImplementedError

    def put(self, key, value, **how):
        return super().put(self.name(key), value, **how)

    def get_many(self, keys):
        found = super().get_many([self.name(key) for key in keys])
        return {key: found[self.name(key)] for key in keys if self.name(key) in found}

    def delete_many(self, keys):
        return super().delete_many([self.name(key) for key in keys])


class TrimsKeys(Renames):
    """Takes spaces at the end for nothing."""

    def name(self, key):
        return key.rstrip()


class NormalisesKeys(Renames):
    """Takes similar keys for the same."""

    def name(self, key):
        return unicodedata.normalize("NFC", key)


class TruncatesKeys(Renames):
    """Takes the first 200 characters for the key."""

    def name(self, key):
        return key[:200]


class KeepsText(Whole):
    """Keeps values in a column of text."""

    def put(self, key, value, **how):
        return super().put(key, value.decode("utf-8", "replace").encode(), **how)


class CutsAtZero(Whole):
    """Gives values to code that takes zero for the end."""

    def put(self, key, value, **how):
        return super().put(key, value.split(b"\0")[0], **how)


class TrimsValues(Whole):
    """Reads lines."""

    def get_many(self, keys):
        return {key: value.strip() for key, value in super().get_many(keys).items()}


class RewritesJSON(Whole):
    """Keeps JSON in a column of JSON, which has an order and a notation of its own."""

    def put(self, key, value, **how):
        if value[:1] == b"{" and value[-1:] == b"}":
            value = json.dumps(json.loads(value), separators=(",", ":")).encode()
        return super().put(key, value, **how)


# -- scans and capabilities -------------------------------------------------------------------


class ScanDeletes(Whole):
    """Hands out each key once."""

    def scan(self, prefix=""):
        for key in list(super().scan(prefix)):
            yield key
            self.delete_many([key])


class ScanCaps(Whole):
    """Finds the first thousand."""

    def scan(self, prefix=""):
        return iter(list(super().scan(prefix))[:1000])


class ScanDoubles(Whole):
    """Finds some a second time, as cursors do."""

    def scan(self, prefix=""):
        keys = list(super().scan(prefix))
        return iter([*keys, *keys[:10]])


class ScanBreaksOff(Whole):
    """Scans a collection that others change."""

    def scan(self, prefix=""):
        return (key for key in self._space.records if key.startswith(prefix))


class ScanShowsExpired(Whole):
    """Finds expired records."""

    def scan(self, prefix=""):
        return iter([key for key in self._space.records if key.startswith(prefix)])


class ClaimsToPush(Whole):
    """Declares to push, with a bell that only sleeps."""

    def watch(self, keys=()):
        from coatcheck import KeyValueBackend

        return KeyValueBackend.watch(self, keys)


class ClaimsToBeShared(Whole):
    """Declares that others see its records, which only this process has."""

    capabilities = Whole.capabilities | type(Whole.capabilities).SHARED


globals().update(proofs_of(__name__, NOTICED, BrokenProof))
