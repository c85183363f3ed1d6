"""
Scans of all records, where the store can do that.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Unpack

import pytest

from ... import Capability, Filters, UnsupportedError
from ... import Results as SyncResults
from ...aio import Results
from ..promises import core, promise
from ..proof import has, has_keys
from ..sides import until
from .case import Case
from .reading import absent


async def _is_past(moment: datetime | None) -> bool:
    """Whether *moment* is over, also for a store that keeps milliseconds."""
    return moment is not None and datetime.now(UTC) - moment > timedelta(milliseconds=2)


class Scanning(Case):
    """A declared capability works, and an undeclared one refuses."""

    @core
    @promise(4)
    async def test_scan(self, results: Results, other: SyncResults) -> None:
        """A scan finds every record once; a store that cannot scan says so at once."""
        if not has(results, Capability.SCAN):
            with pytest.raises(UnsupportedError, match="SCAN"):
                [meta async for meta in results.scan()]
            return
        ids = {f"t{n}" for n in range(1500)}
        other.store_many(dict.fromkeys(ids, 1))
        other.mark_as_started("started")
        found = [meta.task_id async for meta in results.scan()]

        assert ids | {"started"} == set(found)
        assert len(found) == len(ids) + 1
        assert ["started"] == [meta.task_id async for meta in results.scan(state="STARTED")]

    @promise(4)
    async def test_filters(self, results: Results, other: SyncResults) -> None:
        """
        A scan finds the records that meet all filters, and no others; behind an id it goes on in order.
        """
        if not has(results, Capability.SCAN):
            return
        other.mark_as_started("a-running", name="x", worker="w", group_id="g")
        other.store_result("a-early", 1, name="x", worker="v", group_id="g")
        early = (await results.get_task_meta("a-early")).date_done
        await until(lambda: _is_past(early))
        other.mark_as_failure("b-late", ValueError(), name="x", worker="w")
        other.store_result("c", 1, name="y")
        late = (await results.get_task_meta("b-late")).date_done

        async def found(after: str | None = None, **filters: Unpack[Filters]) -> list[str]:
            ids = [meta.task_id async for meta in results.scan(after=after, **filters)]
            return sorted(ids) if after is None else ids

        assert ["a-early", "a-running"] == await found(group="g")
        assert ["a-early", "a-running", "b-late"] == await found(name="x")
        assert ["a-running", "b-late"] == await found(name="x", worker="w")
        assert ["b-late"] == await found(name="x", worker="w", state="FAILURE")
        assert ["b-late", "c"] == await found(since=late)
        assert ["a-early"] == await found(before=late) == await found(since=early, before=late)
        assert ["c"] == await found(since=timedelta(hours=1), before=timedelta(0), name="y")
        assert [] == await found(before=timedelta(hours=1)) == await found(name="X")
        assert ["a-early", "a-running"] == await found(prefix="a-")
        assert ["a-early", "a-running", "b-late", "c"] == await found("")
        assert ["b-late", "c"] == await found("a-running") == await found("a-z", prefix="")
        assert ["a-running"] == await found("a-early", prefix="a-", worker="w")

    @promise(4)
    async def test_stats(self, results: Results, other: SyncResults) -> None:
        """Records are counted by state and age, by the store if it can; a sample says that it is one."""
        if not has(results, Capability.SCAN):
            with pytest.raises(UnsupportedError, match="SCAN"):
                await results.stats()
            return
        other.store_many({f"t{n}": n for n in range(30)})
        other.mark_as_failure("failed", ValueError())
        await results.mark_as_started("started")
        all_of_them, some = await results.stats(), await results.stats(sample=10)

        expected = {"FAILURE": {"minute": 1}, "STARTED": {"undated": 1}, "SUCCESS": {"minute": 30}}
        assert expected == all_of_them.states
        assert (32, 32, False) == (all_of_them.total, all_of_them.read, all_of_them.sampled)
        assert 30 == all_of_them.number("SUCCESS") == all_of_them.number("SUCCESS", "minute")
        counts = other.backend.tally([]) is not None
        read = 32 if counts else 10
        assert (32, read, not counts) == (some.total, some.read, some.sampled)
        assert read == sum(sum(ages.values()) for ages in some.states.values())

    @promise(4)
    async def test_scan_by_prefix(self, results: Results) -> None:
        """A prefix is text, not a pattern, and excludes records under other prefixes."""
        if not has(results, Capability.SCAN):
            with pytest.raises(UnsupportedError):
                [key async for key in results.backend.scan("a")]
            return
        await results.store_many(dict.fromkeys(["a", "ab", "b", "a*", "[a]", "%", "A"], 1))

        found = [
            {key async for key in results.backend.scan(prefix)}
            for prefix in ("a", "a*", "[a]", "%", "?")
        ]
        assert [{"a", "ab", "a*"}, {"a*"}, {"[a]"}, {"%"}, set()] == found
        if not has_keys(results):
            return
        async with self.new_results(key_prefix="else:") as elsewhere:
            assert [] == [meta async for meta in elsewhere.scan()]

    @promise(3)
    async def test_scan_leaves_out_what_expired(self, results: Results) -> None:
        """A scan leaves out expired records that the store has not removed yet."""
        if not has(results, Capability.SCAN):
            return
        await results.store_many(dict.fromkeys("ab", 1), expires=0.3)
        await results.store_result("kept", 1)
        await until(lambda: absent(results, "b"))

        assert ["kept"] == [key async for key in results.backend.scan("")]

    @promise(7)
    async def test_scan_while_written(self, results: Results, other: SyncResults) -> None:
        """Writes and deletions during a scan neither break it nor hide other records."""
        if not has(results, Capability.SCAN):
            return
        ids = [f"t{n}" for n in range(1200)]
        await results.store_many(dict.fromkeys(ids, 1))
        found: set[str] = set()
        async for meta in results.scan():
            if not found:
                other.store_many({f"new{n}": 1 for n in range(300)})
                other.backend.delete_many(ids[:100])
            found.add(meta.task_id)

        assert set(ids[100:]) <= found
