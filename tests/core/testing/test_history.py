"""
Histories that the first-ready rule allows, and some that it does not.
"""

from __future__ import annotations

import threading

import pytest

import coatcheck
from coatcheck.testing.awaited import awaited, driven
from coatcheck.testing.doubles import Failing
from coatcheck.testing.history import Event, History


def write(value, began, ended, won):
    return Event("write", value, began, ended, won=won)


def unready(value, began, ended, won=True):
    return Event("write", value, began, ended, ready=False, won=won)


def read(value, began, ended):
    return Event("read", value, began, ended)


def nothing(began, ended):
    return Event("read", None, began, ended, ready=False)


ALLOWED = {
    "nothing at all": [],
    "one write": [write(1, 0, 1, True)],
    "one is refused": [write(1, 0, 1, True), write(2, 2, 3, False)],
    "refused while the winner is under way": [write(1, 0, 9, True), write(2, 2, 3, False)],
    "unready before": [unready("u", 0, 1), nothing(1, 2), write(1, 3, 4, True), read(1, 5, 6)],
    "unready refused after": [write(1, 0, 1, True), unready("u", 2, 3, won=False)],
    "read at the same time": [write(1, 0, 9, True), read(1, 2, 3), nothing(1, 4)],
    "lost reply of the winner": [write(1, 0, 9, None), write(2, 2, 3, False), read(1, 4, 5)],
    "lost reply of a loser": [write(1, 0, 1, None), write(2, 2, 3, True), read(2, 4, 5)],
    "nobody knows": [write(1, 0, 9, None), write(2, 0, 9, None), write(3, 2, 3, False)],
}
FORBIDDEN = {
    "several won": [write(1, 0, 1, True), write(2, 2, 3, True)],
    "changed": [write(1, 0, 1, True), read(1, 2, 3), read(2, 4, 5)],
    "read": [write(1, 0, 1, True), read(2, 2, 3)],
    "no write of it": [write(1, 0, 1, False), read(1, 2, 3)],
    "refused without": [write(1, 0, 1, False)],
    "nothing after it was there": [write(1, 0, 1, True), read(1, 2, 3), nothing(4, 5)],
    "refused before it began": [write(2, 0, 1, False), write(1, 2, 3, True)],
    "unready won after it": [write(1, 0, 1, True), unready("u", 2, 3)],
    "seen, then not": [write(1, 0, 9, True), read(1, 2, 3), nothing(4, 5)],
    "refused, then not there": [write(1, 0, 9, None), write(2, 2, 3, False), nothing(4, 5)],
}


def history(events):
    made = History()
    for event in events:
        made.add(event)
    return made


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(name):
    """A history that fits one order is allowed."""
    assert [] == history(ALLOWED[name]).faults()


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden(name):
    """Any other is reported, with the contradiction."""
    assert 1 == len(history(FORBIDDEN[name]).faults())


def test_winner():
    """There is one winner, or an error that names all that were told so."""
    assert 1 == history(ALLOWED["one is refused"]).winner
    with pytest.raises(LookupError, match=r"2 writes .*\[1, 2\]"):
        _ = history(FORBIDDEN["several won"]).winner


def test_recorded():
    """Operations on results are recorded as they are: answered, refused, read."""
    made = History()
    with coatcheck.by_url("memory://history") as results:
        driven(made.take_part(awaited(results), "t", 1))
        driven(made.store(awaited(results), "t", 2))
        results.forget("t")

    kinds = [(event.kind, event.ready, event.won) for event in made.events]
    expected = [("write", False, True), ("read", False, True), ("write", True, True)]
    assert [*expected, ("read", True, True), ("write", True, False)] == kinds
    assert [] == made.faults()


def test_unanswered():
    """A store that raises may have taken place; updates and reads that raise say nothing."""
    made = History()
    backend = Failing(operations=["put", "get_many"])
    with coatcheck.Results(backend) as results:
        driven(made.take_part(awaited(results), "t", 1))

    assert [("write", None, float("inf"))] == [(e.kind, e.won, e.ended) for e in made.events]


def test_lost_updates_are_found():
    """A race over a store that looks first and writes then is found out."""
    record, lock = {}, threading.Lock()

    class Racing:
        async def store_result(self, task_id, value):
            seen = dict(record)
            barrier.wait(30)
            with lock:
                record[task_id] = value
            return task_id not in seen

    barrier = threading.Barrier(2)
    made = History()
    stores = [made.store(Racing(), "t", n) for n in range(2)]
    threads = [threading.Thread(target=driven, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ["several won"] == [fault.partition(":")[0] for fault in made.faults()]
