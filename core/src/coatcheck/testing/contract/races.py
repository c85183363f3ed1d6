"""
Many writers at the same moment: one is first, and all agree which.
"""

from __future__ import annotations

from ... import Capability
from ...aio import Results
from ...states import READY_STATES
from ..child import children
from ..history import History
from ..promises import core, promise
from ..proof import PATIENCE, has, record_of
from ..sides import together
from .case import Case

WRITERS = 50
CLIENTS = 5
PROCESSES = 7  # and this one


class Races(Case):
    """Promise 1, with writers at the same moment."""

    @core
    @promise(1, 9)
    async def test_race(self) -> None:
        """
        Of 50 threads or tasks exactly one is first, repeatedly, and their observations fit one
        order.
        """
        # However slow the machine is, each of them gets its answer.
        clients = [self.new_results(operation_timeout=PATIENCE) for _ in range(CLIENTS)]
        try:
            for round_ in range(4):
                history, id_ = History(), f"t{round_}"
                act = history.take_part if round_ else history.store
                await together(act(clients[n % CLIENTS], id_, n) for n in range(WRITERS))

                assert [] == history.faults()
                assert history.winner == await clients[0].get_result(id_)
        finally:
            for client in clients:
                await client.close()

    @core
    @promise(1, 9)
    async def test_race_of_processes(self, results: Results) -> None:
        """Of 8 processes exactly one is first for each id, and its record stays."""
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

    @core
    @promise(1)
    async def test_race_of_batches(self, results: Results) -> None:
        """Of batches that meet, each id has one winner, and its record stays."""
        ids = [f"t{n}" for n in range(200)]
        async with self.new_results() as second:
            clients = {"a": results, "b": second, "c": results}
            won = await together(
                client.store_many(dict.fromkeys(ids, name)) for name, client in clients.items()
            )
        said = {
            id_: name for name, all_ in zip(clients, won, strict=True) for id_ in ids if all_[id_]
        }

        assert len(ids) == sum(sum(all_.values()) for all_ in won)
        assert said == {id_: meta.result for id_, meta in (await results.get_many(ids)).items()}

    @promise(1)
    async def test_race_with_unready(self, results: Results) -> None:
        """Unready writes that meet a ready one never replace it."""
        async with self.new_results() as second:
            for round_ in range(20):
                id_ = f"t{round_}"
                writes = [second.update_state(id_, "PROGRESS", n) for n in range(4)]
                writes.insert(round_ % 5, results.store_result(id_, "ready"))
                won = await together(writes)

                assert won[round_ % 5]
                assert "ready" == await results.get_result(id_)

    @promise(1, 10)
    async def test_race_to_expect(self, results: Results) -> None:
        """Of many that expect a task, one creates the record."""
        async with self.new_results() as second:
            for round_ in range(10):
                clients = (results, second) * 5

                assert 1 == sum(await together(c.expect(f"t{round_}") for c in clients))

    @promise(1)
    async def test_race_over_one_record(self, results: Results) -> None:
        """Of many writes over the exact record they saw, one succeeds."""
        async with self.new_results() as second:
            for round_ in range(10):
                id_, writes = f"t{round_}", []
                await results.mark_as_started(id_)
                for number in range(10):
                    client = (results, second)[number % 2]
                    meta = record_of(client, id_, "PROGRESS", number)
                    seen = await client.get_task_meta(id_)
                    put = client.backend.put
                    writes.append(put(id_, meta, unless=READY_STATES, if_match=seen, expires=60))
                won = await together(writes)

                assert 1 == sum(won)
                assert won.index(True) == await results.get_result(id_)
