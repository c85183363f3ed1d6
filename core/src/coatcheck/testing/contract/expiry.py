"""
The life of records, as readers and the store itself see it.
"""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import Any

import pytest

from ...aio import Results
from ...states import READY_STATES
from ..promises import core, expiring, needs, promise
from ..proof import PATIENCE, innermost, record_of
from ..sides import pause, until
from .case import Case

MONTH = timedelta(days=31)
#: Lives to try in turn: a busy machine may be too slow for the first.
LIVES = (0.5, 5.0)
#: Seconds by which a clock of the store may drift from ours during a test.
SKEW = 0.05


async def gone(results: Results, *task_ids: str) -> None:
    """Wait until all these records are absent."""

    async def all_gone() -> bool:
        return not any(meta.known for meta in (await results.get_many(task_ids)).values())

    await until(all_gone)


class Expiry(Case):
    """Promise 3, for the life of records."""

    @expiring
    @promise(3)
    @pytest.mark.parametrize("expires", [0.5, 1])
    async def test_expires(self, results: Results, expires: float) -> None:
        """A record lives for its time, and is then absent to reads and to writes."""
        began = time.monotonic()
        for id_ in "abc":
            await results.store_result(id_, 1, expires=expires)
        await gone(results, *"abc")

        assert time.monotonic() - began >= expires - SKEW
        assert await results.expect("a")
        assert await results.store_result("b", 2)
        assert not await results.forget("c")
        assert ["PENDING", "SUCCESS"] == [await results.get_state(id_) for id_ in "ab"]

    @promise(3)
    @pytest.mark.parametrize("expires", [None, MONTH, 366 * 86_400, 90.7])
    async def test_lives(self, results: Results, expires: Any) -> None:
        """A record with a long or endless life is there, and protected."""
        await results.store_result("t", 1, expires=expires)
        await pause(0.01)

        assert await results.exists("t")
        assert not await results.store_result("t", 2)
        assert 1 == (await results.wait_for("t", PATIENCE)).result

    @promise(3)
    async def test_remaining_life(self, results: Results) -> None:
        """A store that can tell how long its records live tells the truth."""
        await results.store_result("hour", 1, expires=3600)
        await results.store_result("kept", 1, expires=None)
        lives = await results.backend.lives(["hour", "kept", "absent"])
        hour = lives.get("hour")

        assert lives.get("kept") in (None, math.inf)
        assert hour is None or abs(hour - 3600) < results.backend.expires_resolution + PATIENCE
        assert (lives.get("absent") or 0) <= 0

    @expiring
    @promise(3)
    async def test_every_write_restarts_life(self, results: Results) -> None:
        """Each write sets the record's life anew, longer or shorter; batches do so, too."""
        for id_ in ("longer", "kept", "many"):
            await results.mark_as_started(id_, expires=0.5)
        await results.mark_as_started("shorter", expires=None)
        await results.mark_as_started("longer", expires=60)
        await results.store_result("kept", 1, expires=None)
        await results.store_many({"many": 1}, expires=MONTH)
        await results.mark_as_started("shorter", expires=0.5)
        await results.mark_as_started("short", expires=0.5)
        await gone(results, "short", "shorter")

        metas = await results.get_many(["longer", "kept", "many"])
        assert all(meta.known for meta in metas.values())

    @expiring
    @promise(3)
    async def test_batch_expires(self, results: Results) -> None:
        """The records of a batch live for the time that it names."""
        for life in LIVES:
            began, ids = time.monotonic(), [f"a{life}", f"b{life}"]
            await results.store_many(dict.fromkeys(ids, 1), expires=life)
            there = [await results.exists(id_) for id_ in ids]
            if time.monotonic() - began < life:
                break
        assert [True, True] == there
        await gone(results, *ids)

        assert dict.fromkeys(ids, True) == await results.store_many(dict.fromkeys(ids, 2))

    @expiring
    @promise(3)
    async def test_expired_matches_nothing(self, results: Results) -> None:
        """A write over one exact record is refused after that record expired."""
        for life in LIVES:
            await results.mark_as_started("t", expires=life)
            observed = await results.get_task_meta("t")
            if observed.known:
                break
        assert observed.known
        await gone(results, "t")
        meta = record_of(results, "t", "SUCCESS", 1)

        put = results.backend.put
        assert not await put("t", meta, unless=READY_STATES, if_match=observed, expires=60)
        assert not await results.exists("t")

    @expiring
    @promise(3)
    async def test_expired_is_purged(self, results: Results) -> None:
        """A purge removes all expired records from the store, and no others."""
        await results.store_result("kept", 1, expires=None)
        await results.store_result("long", 1, expires=60)
        await results.store_result("t", 1, expires=0.5)
        await gone(results, "t")
        await results.purge()

        assert 0 == await results.purge()
        assert self.raw_document("t") is None
        assert [True, True] == [self.raw_document(id_) is not None for id_ in ("kept", "long")]

    @core
    @promise(3)
    @needs("raw_ttl")
    @pytest.mark.parametrize("expires", [0.5, 1, 90.7, 86_400, MONTH])
    async def test_life_in_the_store(self, results: Results, expires: Any) -> None:
        """The store counts down from the requested life, exact to its time unit."""
        unit = innermost(results.backend).expires_resolution
        seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
        for id_ in "abc":  # a busy machine may read the first only after its end
            began = time.monotonic()
            await results.store_result(id_, 1, expires=expires)
            left = self.raw_ttl(self.key_prefix + id_)
            passed = time.monotonic() - began
            if passed < seconds:
                break

        assert left is not None
        assert seconds - passed - unit - SKEW <= left <= seconds + unit + SKEW

    @promise(3)
    @needs("raw_ttl")
    async def test_kept_in_the_store(self, results: Results) -> None:
        """Without a life the store keeps the record, even in place of one that had a life."""
        await results.mark_as_started("t", expires=60)
        await results.store_result("t", 1, expires=None)

        assert self.raw_ttl(self.key_prefix + "t") is None

    @promise(3)
    @needs("raw_ttl")
    async def test_default_life(self, results: Results) -> None:
        """A record lives for a day by default."""
        await results.store_result("t", 1)

        unit = innermost(results.backend).expires_resolution
        assert 86_300 < (self.raw_ttl(self.key_prefix + "t") or 0) <= 86_401 + unit

    @promise(3)
    @pytest.mark.parametrize("expires", [0, -1, float("nan"), float("inf"), True])
    async def test_no_life(self, results: Results, expires: Any) -> None:
        """A life of zero or less is refused, and nothing is stored."""
        with pytest.raises(ValueError, match="expires"):
            await results.store_result("t", 1, expires=expires)

        assert not await results.exists("t")
