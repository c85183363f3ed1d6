"""
Many writers at the same moment: one of them is the first, and everybody agrees on which.
"""

from __future__ import annotations

from functools import partial

from ... import Capability
from ..._results.results import Results
from ...states import READY_STATES
from ..child import children
from ..history import History
from ..promises import promise
from ..proof import has, record_of
from ..threads import in_threads
from .case import Case

THREADS = 50
CLIENTS = 5
PROCESSES = 8


class Races(Case):
    """
    Promise 1, with writers at the same moment.
    """

    @promise(1, 9)
    def test_race_of_threads(self) -> None:
        """
        Of 50 threads over 5 clients exactly one is the first, again and again, and what all of
        them saw can have happened in one order.
        """
        clients = [self.sync_results() for _ in range(CLIENTS)]
        try:
            for round_ in range(4):
                history, id_ = History(), f"t{round_}"
                in_threads(
                    partial(history.take_part, clients[n % CLIENTS], id_, n) for n in range(THREADS)
                )

                assert [] == history.faults()
                assert history.winner == clients[0].get_result(id_)
        finally:
            for client in clients:
                client.close()

    @promise(1, 9)
    def test_race_of_processes(self, results: Results) -> None:
        """
        Of 8 processes exactly one is the first, for each of many ids, and its record stays.
        """
        if not has(results, Capability.SHARED):
            return
        ids = [f"t{n}" for n in range(50)]
        jobs = [("race", (self.store_url, ids, number)) for number in range(PROCESSES)]
        with children(jobs) as racers:
            for racer in racers:
                racer.go()
            wins = [racer.answer() for racer in racers]

        assert ids == sorted((id_ for won in wins for id_ in won), key=ids.index)
        said = {id_: number for number, won in enumerate(wins) for id_ in won}
        assert said == {id_: meta.result for id_, meta in results.get_many(ids).items()}

    @promise(1)
    def test_race_of_batches(self, results: Results, other: Results) -> None:
        """
        Batches that meet share out the ids: each has one winner, and its record stays.
        """
        ids = [f"t{n}" for n in range(200)]
        clients = {"a": results, "b": other}
        won = in_threads(
            partial(client.store_many, dict.fromkeys(ids, name)) for name, client in clients.items()
        )
        said = {
            id_: name for name, all_ in zip(clients, won, strict=True) for id_ in ids if all_[id_]
        }

        assert [len(ids)] == [sum(map(sum, (all_.values() for all_ in won)))]
        assert said == {id_: meta.result for id_, meta in results.get_many(ids).items()}

    @promise(1)
    def test_race_with_unready(self, results: Results, other: Results) -> None:
        """
        Unready writes that meet a ready one never replace it.
        """
        for round_ in range(20):
            id_ = f"t{round_}"
            answers = in_threads(
                [
                    partial(results.store_result, id_, "ready"),
                    *(partial(other.update_state, id_, "PROGRESS", n) for n in range(4)),
                ]
            )

            assert answers[0]
            assert "ready" == results.get_result(id_)

    @promise(1, 10)
    def test_race_to_expect(self, results: Results, other: Results) -> None:
        """
        Of many that expect a task one has made the record.
        """
        for round_ in range(10):
            clients = (results, other) * 5
            made = in_threads(partial(client.expect, f"t{round_}") for client in clients)

            assert 1 == sum(made)

    @promise(1)
    def test_race_over_one_record(self, results: Results, other: Results) -> None:
        """
        Of many writes over exactly the record they saw, one goes through.
        """
        for round_ in range(10):
            id_ = f"t{round_}"
            results.mark_as_started(id_)
            writes = []
            for number in range(10):
                client = (results, other)[number % 2]
                meta = record_of(client, id_, "PROGRESS", number)
                seen = client.get_task_meta(id_)
                put = partial(client.backend.put, id_, meta, unless=READY_STATES)
                writes.append(partial(put, if_match=seen, expires=60))
            won = in_threads(writes)

            assert 1 == sum(won)
            assert won.index(True) == results.get_result(id_)
