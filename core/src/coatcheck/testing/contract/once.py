"""
Work that runs once for a key, whoever calls, fails, dies or is interrupted.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from ... import Capability, OnceConflictError, WaitTimeoutError, WorkerLostError
from ... import Results as SyncResults
from ...aio import Results
from ..child import children
from ..promises import core, promise
from ..proof import PATIENCE, at_length, has
from ..sides import apart, in_loop, pause, start, together, until
from .case import Case


class Interruption(BaseException):
    """Ends a block without being its failure."""


class Once(Case):
    """Promises 1 and 11."""

    @core
    @promise(1)
    async def test_one_of_many_callers_works(self, results: Results, other: SyncResults) -> None:
        """Of callers at the same time one does the work, and all get its result, later ones too."""
        workers: list[int] = []

        async def call(number: int) -> Any:
            async with results.claim("k", fingerprint=b"body") as claim:
                if claim.mine:
                    workers.append(number)
                    await pause(0.05)
                    claim.result = {"by": number}
            return claim.result

        answers = await together(call(number) for number in range(12))

        assert [{"by": workers[0]}] * 12 == answers
        assert workers == [answers[0]["by"]]
        assert answers[0] == other.once("k", dict, fingerprint="body")
        with pytest.raises(OnceConflictError, match="another request"):
            await call_once(results, "k", 2, fingerprint="another body")

    @promise(1, 4)
    async def test_all_callers_get_the_failure(self, results: Results, other: SyncResults) -> None:
        """A failure of the function is stored, and raised for all; nobody calls the function again."""
        with pytest.raises(ZeroDivisionError):
            await call_once(results, "k", 0)
        with pytest.raises(ZeroDivisionError):
            other.once("k", str, 1)
        with pytest.raises(ZeroDivisionError):
            await call_once(results, "k", 1)
        assert 0.5 == await call_once(results, "other", 2)
        await results.expect("expected")
        assert 0.25 == await call_once(results, "expected", 4)

    @core
    @promise(11, 1)
    async def test_one_takes_over_from_a_lost_caller(
        self, results: Results, other: SyncResults
    ) -> None:
        """Of those who wait for a killed caller exactly one takes over; others learn of the loss."""
        if has(results, Capability.SHARED):
            with children([("vanish_from_claim", (self.store_url, "k"))]) as (child,):
                child.go()
                assert child.answer() is None
        else:
            lost, once = {"every": 0.1, "beat": 7}, {"run": "1"}
            await results.store_result("k", None, "STARTED", heartbeat=lost, once=once)
        assert [] == other.reap(["k"])
        with pytest.raises(WorkerLostError):
            other.AsyncResult("k").get(timeout=PATIENCE)
        assert "STARTED" == other.get_state("k")
        workers: list[int] = []

        async def call(number: int) -> Any:
            async with results.claim("k", heartbeat=5) as claim:
                if claim.mine:
                    workers.append(number)
                    claim.result = number
            return claim.result

        answers = await together(call(number) for number in range(6))

        assert workers * 6 == answers
        assert workers == [other.get_result("k")]

    @at_length
    @promise(1, 11)
    async def test_a_thousand_callers(self, results: Results, other: SyncResults) -> None:
        """
        Of 1,000 callers in 8 processes one works; after it is killed, one takes over within 4 heartbeats.
        """
        if not has(results, Capability.SHARED):
            return
        every, names = 2.0, [str(number) for number in range(8)]
        job = self._job.replace("work", "call_once")

        jobs = [(job, (self.store_url, "race", 125, every, name)) for name in names]
        with children(jobs) as callers:
            for child in callers:
                child.go()
            answers = [await apart(child.answer) for child in callers]

        assert 1 == sum(len(ran) for ran, _ in answers)
        assert [[other.get_result("race")]] * 8 == [found for _, found in answers]

        other.forget_many(names)
        jobs = [(job, (self.store_url, "killed", 125, every, name)) for name in names]
        with children([("claim", (self.store_url, "killed", every)), *jobs]) as (
            claimant,
            *callers,
        ):
            claimant.go()
            await until(lambda: other.exists("killed"))
            for child in callers:
                child.go()
            await until(lambda: all(meta.known for meta in other.get_many(names).values()))
            await pause(2 * every)
            claimant.process.kill()
            killed = time.time()
            answers = [await apart(child.answer) for child in callers]
        (took_over,) = (moment for ran, _ in answers for moment in ran)

        assert [[other.get_result("killed")]] * 8 == [found for _, found in answers]
        assert took_over - killed < 4 * every

    @promise(1, 2)
    async def test_an_interrupted_caller_hands_back(
        self, results: Results, other: SyncResults
    ) -> None:
        """Work that is interrupted, not failed, is left to the next caller, who need not wait long."""
        with pytest.raises(Interruption):
            async with results.claim("k", heartbeat=None, fingerprint="f") as claim:
                assert claim.mine
                with pytest.raises(WaitTimeoutError):
                    other.once("k", dict, timeout=0)
                waiting = start(call_once(results, "k", 1, fingerprint="f"))
                await pause(0.05)
                raise Interruption

        assert 1 == await waiting
        with pytest.raises(OnceConflictError):
            other.once("k", dict, fingerprint="g")

    @promise(1)
    async def test_the_first_result_is_everybodys(
        self, results: Results, other: SyncResults
    ) -> None:
        """A caller whose result comes second gets the first, as all others do."""
        async with results.claim("k") as claim:
            assert other.store_result("k", "first")
            claim.result = "second"

        assert ("first", False) == (claim.result, claim.won)
        assert "first" == other.once("k", str)


async def call_once(results: Results, key: str, number: int, **options: Any) -> Any:
    """Divide 1 by *number*, once, by a function of either side."""

    async def divide(number: int) -> float:
        return 1 / number

    function: Any = divide if in_loop() else (lambda number: 1 / number)
    return await results.once(key, function, number, **options)
