"""
Many writers at the same moment: one of them is the first, and everybody agrees on which.
"""

from __future__ import annotations

import asyncio
from functools import partial
from threading import Barrier

from ... import Capability
from ... import Results as SyncResults
from ...aio import Results
from ...states import READY_STATES
from ..child import children
from ..promises import promise
from ..proof import PATIENCE, has, record_of
from ..threads import in_threads
from .case import AioCase, patiently

TASKS = 50
CLIENTS = 5
PROCESSES = 7  # and this one


class Races(AioCase):
    """
    Promise 1, with writers at the same moment.
    """

    @promise(1, 9)
    async def test_race_of_tasks(self) -> None:
        """
        Of 50 tasks over 5 clients exactly one is the first, again and again.
        """
        clients = [self.aio_results() for _ in range(CLIENTS)]
        try:
            for round_ in range(4):
                id_ = f"t{round_}"
                stores = (clients[n % CLIENTS].store_result(id_, n) for n in range(TASKS))
                won = await patiently(asyncio.gather(*stores))

                assert [await clients[0].get_result(id_)] == [n for n, w in enumerate(won) if w]
        finally:
            for client in clients:
                await client.close()

    @promise(1, 9)
    async def test_race_of_threads(self, other: SyncResults) -> None:
        """
        Of 8 event loops, each in a thread with a client of its own, and as many threads that share
        one, one is the first, for each of many ids.
        """
        ids = [f"t{n}" for n in range(30)]
        barrier = Barrier(16)

        async def store(number: int) -> list[str]:
            async with self.aio_results() as results:
                await results.exists("t0")
                barrier.wait(PATIENCE)  # nothing else is to go on in this loop
                return [id_ for id_ in ids if await results.store_result(id_, number)]

        def store_sync(number: int) -> list[str]:
            barrier.wait(PATIENCE)
            return [id_ for id_ in ids if other.store_result(id_, number)]

        racers = [partial(asyncio.run, store(n)) for n in range(8)]
        others = [partial(store_sync, n) for n in range(8, 16)]
        wins = await asyncio.to_thread(in_threads, [*racers, *others])

        assert ids == sorted((id_ for won in wins for id_ in won), key=ids.index)
        said = {id_: number for number, won in enumerate(wins) for id_ in won}
        assert said == {id_: meta.result for id_, meta in other.get_many(ids).items()}

    @promise(1, 9)
    async def test_race_of_processes(self, results: Results) -> None:
        """
        Of 8 processes, this one among them, exactly one is the first, for each of many ids.
        """
        if not has(results, Capability.SHARED):
            return
        ids = [f"t{n}" for n in range(50)]
        jobs = [("race", (self.store_url, ids, number)) for number in range(PROCESSES)]
        with children(jobs) as racers:
            for racer in racers:
                racer.go()
            wins = [[id_ for id_ in ids if await results.store_result(id_, PROCESSES)]]
            wins[:0] = [racer.answer() for racer in racers]

        assert ids == sorted((id_ for won in wins for id_ in won), key=ids.index)
        said = {id_: number for number, won in enumerate(wins) for id_ in won}
        assert said == {id_: meta.result for id_, meta in (await results.get_many(ids)).items()}

    @promise(1)
    async def test_race_of_batches(self, results: Results) -> None:
        """
        Batches that meet share out the ids: each has one winner, and its record stays.
        """
        ids = [f"t{n}" for n in range(200)]
        batches = [results.store_many(dict.fromkeys(ids, name)) for name in "abc"]
        won = await patiently(asyncio.gather(*batches))
        said = {
            id_: name for name, all_ in zip("abc", won, strict=True) for id_ in ids if all_[id_]
        }

        assert len(ids) == sum(sum(all_.values()) for all_ in won)
        assert said == {id_: meta.result for id_, meta in (await results.get_many(ids)).items()}

    @promise(1)
    async def test_race_with_unready(self, results: Results) -> None:
        """
        Unready writes that meet a ready one never replace it.
        """
        for round_ in range(20):
            id_ = f"t{round_}"
            unready = [results.update_state(id_, "PROGRESS", n) for n in range(4)]
            ready = results.store_result(id_, "ready")
            won = await patiently(asyncio.gather(*unready[:2], ready, *unready[2:]))

            assert won[2]
            assert "ready" == await results.get_result(id_)

    @promise(1, 10)
    async def test_race_to_expect(self, results: Results) -> None:
        """
        Of many that expect a task one has made the record.
        """
        for round_ in range(10):
            expected = (results.expect(f"t{round_}") for _ in range(10))

            assert 1 == sum(await patiently(asyncio.gather(*expected)))

    @promise(1)
    async def test_race_over_one_record(self, results: Results) -> None:
        """
        Of many writes over exactly the record they saw, one goes through.
        """
        for round_ in range(10):
            id_ = f"t{round_}"
            await results.mark_as_started(id_)
            seen = await results.get_task_meta(id_)
            put = partial(results.backend.put, id_, unless=READY_STATES, if_match=seen, expires=60)
            metas = [record_of(results, id_, "PROGRESS", number) for number in range(10)]
            won = await patiently(asyncio.gather(*(put(meta) for meta in metas)))

            assert 1 == sum(won)
            assert won.index(True) == await results.get_result(id_)
