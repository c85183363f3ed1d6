"""
The schedule of looks, on a clock of the test's own.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck._runtime.dice import JITTER, jittered
from coatcheck._waiting.pacing import Agenda, adaptive, aligned

#: By how much a look may come later, so that several can be read together.
GRID = 1.25


@given(st.floats(0, 1e9))
def test_pauses_grow_with_the_time_waited(waited):
    """
    The pause is a tenth of the time waited, within its bounds, and never longer.
    """
    pause = adaptive(waited)

    whole = min(max(waited / 10, 0.001), 0.5)
    assert whole * (1 - JITTER) <= pause <= whole * 1.000001


def test_pauses_differ():
    """
    Many waiters do not look at the same time.
    """
    assert 90 < len({jittered(1.0) for _ in range(100)})
    assert all(0.9 <= jittered(1.0) <= 1.0 for _ in range(100))


@given(st.floats(-1e6, 1e6), st.floats(0.001, 10.0))
def test_looks_are_put_on_a_grid(now, pause):
    """
    A look comes after the pause, and not by more than a quarter of it later.
    """
    at = aligned(now, pause)

    assert pause - 1e-6 <= at - now <= pause * GRID + 1e-6


def test_looks_of_about_the_same_time_are_one():
    """
    Of a thousand tasks that are waited for about equally long most are due together.
    """
    moments = {aligned(100.0 + number / 10_000, jittered(0.5)) for number in range(1000)}

    assert len(moments) <= 5


def test_the_first_look_is_at_once():
    """
    An id is due as soon as it is added.
    """
    agenda = Agenda()
    agenda.add("a", 10.0)

    assert agenda.next_look() <= 10.0
    assert ["a"] == agenda.take_due(10.0)
    assert agenda.next_look() is None


def test_nothing_is_due_before_its_time():
    """
    A look that is still to come is not taken.
    """
    agenda = Agenda()
    agenda.add("a", 0.0)
    agenda.take_due(0.0)
    agenda.looked("a", 0.0, 5.0)

    assert [] == agenda.take_due(4.4)


def test_a_look_under_way_is_not_taken_twice():
    """
    An id that was taken is due again only after it is given back.
    """
    agenda = Agenda()
    agenda.add("a", 0.0)

    assert ["a"] == agenda.take_due(0.0)
    assert agenda.is_taken("a")
    assert [] == agenda.take_due(100.0)
    agenda.looked("a", 100.0, None)
    assert not agenda.is_taken("a")
    assert ["a"] == agenda.take_due(101.0)


def test_without_push_looks_are_adaptive():
    """
    The pause after a look depends on how long the id has been waited for.
    """
    agenda = Agenda()
    agenda.add("a", 0.0)
    for now, shortest, longest in [(0.0, 0.0009, 0.001), (1.0, 0.09, 0.1), (60.0, 0.45, 0.5)]:
        agenda.take_due(now)
        agenda.looked("a", now, None)
        assert now + shortest <= agenda.next_look() <= now + longest * GRID


def test_each_id_has_its_own_pace():
    """
    An id that was added late is looked at often, whatever the others do.
    """
    agenda = Agenda()
    agenda.add("old", 0.0)
    agenda.add("new", 100.0)
    agenda.take_due(100.0)
    agenda.looked("old", 100.0, None)
    agenda.looked("new", 100.0, None)

    assert ["new"] == agenda.take_due(100.002)
    assert ["old"] == agenda.take_due(100.7)


def test_under_push_the_next_look_is_the_safety_look():
    """
    Where the store rings, an id is looked at again after the safety look only.
    """
    agenda = Agenda()
    agenda.add("a", 0.0)
    agenda.take_due(0.0)
    agenda.looked("a", 0.0, 5.0)

    assert 4.5 <= agenda.next_look() <= 5.0 * GRID


def test_what_rings_is_due_at_once():
    """
    A ring brings the next look forward, of ids that are waited for only.
    """
    agenda = Agenda()
    agenda.add("a", 0.0)
    agenda.take_due(0.0)
    agenda.looked("a", 0.0, 5.0)

    agenda.call("b")
    agenda.call("a")

    assert ["a"] == agenda.take_due(1.0)
    assert 1 == len(agenda)
    assert "b" not in agenda


def test_a_ring_during_a_look_makes_another():
    """
    A ring while a look is under way is not lost when that look ends.
    """
    agenda = Agenda()
    agenda.add("a", 0.0)
    agenda.take_due(0.0)

    agenda.call("a")
    agenda.looked("a", 0.2, 5.0)

    assert ["a"] == agenda.take_due(0.2)


def test_hastening_never_delays():
    """
    A later time does not put off an earlier look.
    """
    agenda = Agenda()
    agenda.add("a", 0.0)
    agenda.take_due(0.0)

    agenda.hasten("a", 1.0)
    agenda.hasten("a", 2.0)

    assert 1.0 == agenda.next_look()


def test_what_is_not_waited_for_stays_out():
    """
    Hastening, a look or a change of an id that is not there adds nothing.
    """
    agenda = Agenda()
    agenda.hasten("a", 0.0)
    agenda.looked("a", 0.0, None)
    agenda.changed("a", 0.0)
    agenda.discard("a")

    assert 0 == len(agenda)
    assert agenda.next_look() is None
    assert [] == agenda.take_due(100.0)


def test_what_is_discarded_is_not_looked_at():
    """
    A discarded id is not due, and does not hide those that are.
    """
    agenda = Agenda()
    agenda.add("a", 0.0)
    agenda.add("b", 1.0)
    agenda.discard("a")

    assert ["b"] == agenda.take_due(2.0)


def test_a_change_starts_the_pace_anew():
    """
    After a change an id is looked at as often as at the start.
    """
    agenda = Agenda()
    agenda.add("a", 0.0)
    agenda.take_due(100.0)

    agenda.changed("a", 100.0)
    agenda.looked("a", 100.0, None)

    assert agenda.next_look() <= 100.0 + 0.001 * GRID


def test_an_id_that_is_added_again_keeps_its_pace():
    """
    A second waiter has the id looked at now, and does not make it new.
    """
    agenda = Agenda()
    agenda.add("a", 0.0)
    agenda.take_due(0.0)
    agenda.add("a", 100.0)

    assert ["a"] == agenda.take_due(100.0)
    agenda.looked("a", 100.0, None)
    assert agenda.next_look() >= 100.4


def test_abandoned_looks_are_not_under_way():
    """
    A look that came to nothing does not count as under way.
    """
    agenda = Agenda()
    agenda.add("a", 0.0)
    agenda.take_due(0.0)

    agenda.abandoned(["a", "b"])

    assert not agenda.is_taken("a")


@pytest.mark.parametrize("push", [None, 5.0])
def test_many_ids_cost_one_entry_each(push):
    """
    However often ten thousand ids are looked at, nothing piles up.
    """
    agenda = Agenda()
    ids = [str(number) for number in range(10_000)]
    for id_ in ids:
        agenda.add(id_, 0.0)
    for now in range(20):
        due = agenda.take_due(float(now), 10_000)
        for id_ in due:
            agenda.looked(id_, float(now), push)
        assert {*due} <= {*ids}
    assert 10_000 == len(agenda) == len(agenda._polls)
    for id_ in ids:
        agenda.discard(id_)
    assert (0, 0) == (len(agenda), len(agenda._polls))


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "ring", "take", "looked", "discard", "changed"]),
        st.sampled_from("abc"),
        st.floats(0, 1),
    ),
    max_size=40,
)


@given(OPERATIONS)
def test_no_id_is_forgotten(operations):
    """
    Whatever happens in whatever order, an id that is waited for and not taken is due some time.
    """
    agenda = Agenda()
    now = 0.0
    waited: set[str] = set()
    for what, id_, pause in operations:
        now += pause
        if what == "add":
            agenda.add(id_, now)
            waited.add(id_)
        elif what == "discard":
            agenda.discard(id_)
            waited.discard(id_)
        elif what == "ring":
            agenda.call(id_)
        elif what == "changed":
            agenda.changed(id_, now)
        elif what == "looked" and agenda.is_taken(id_):
            agenda.looked(id_, now, 5.0 if pause < 0.5 else None)
        elif what == "take":
            agenda.take_due(now)
    for id_ in waited:
        if agenda.is_taken(id_):
            agenda.looked(id_, now, 5.0)

    assert waited == {*agenda.take_due(now + 5.0 * GRID)}


def test_portions_lose_nothing():
    """
    What is due is taken in portions, each id once.
    """
    agenda = Agenda()
    ids = [str(number) for number in range(600)]
    for id_ in ids:
        agenda.add(id_, 0.0)

    portions = [agenda.take_due(0.0) for _ in range(4)]

    assert [250, 250, 100, 0] == [len(portion) for portion in portions]
    assert sorted(ids) == sorted(id_ for portion in portions for id_ in portion)


@pytest.mark.parametrize("limit", [1, 2, 10, 250])
def test_many_looks_do_not_hold_up_another(limit):
    """
    An id that is added, or called, behind ten thousand others has its turn within five portions,
    and so has one whose time came long ago. Other crowds are behind it.
    """
    agenda = Agenda()
    for number in range(10_000):
        agenda.add(str(number), 0.0)
    agenda.add("poll", 0.0)
    everything = agenda.take_due(0.0, 20_000)
    for id_ in everything:
        agenda.looked(id_, 0.0, None, crowd=2.0 if id_ == "poll" else 1.0)
    for number in range(10_000):
        agenda.add(f"new-{number}", 1.0)

    def first(*, at, portions=5):
        return {id_ for _ in range(portions) for id_ in agenda.take_due(at, limit)}

    assert "poll" in first(at=1.0, portions=8)
    agenda.add("late", 2.0)
    assert "late" in first(at=2.0)
    agenda.looked("late", 2.0, 5.0)
    agenda.call("late")
    taken = first(at=2.0)
    assert "late" in taken
    assert any(not id_.startswith("new-") for id_ in taken - {"late"})


@pytest.mark.parametrize("limit", [1, 7, 250])
@pytest.mark.parametrize("crowds", [1, 3, 100])
def test_crowds_take_turns(limit, crowds):
    """
    However many ids of other crowds are overdue, one that is due has its turn after each of them at
    most once, again and again.
    """
    agenda = Agenda()
    ids = {f"{crowd}-{number}": float(crowd) for crowd in range(crowds) for number in range(100)}
    ids["other"] = 1000.0
    for id_ in ids:
        agenda.add(id_, 0.0)
    for id_ in agenda.take_due(0.0, len(ids)):
        agenda.looked(id_, 0.0, None, crowd=ids[id_])

    for now in (10.0, 20.0, 30.0):
        portions = [agenda.take_due(now, limit) for _ in range(-(-(crowds + 1) // limit))]
        taken = [id_ for portion in portions for id_ in portion]
        assert "other" in taken
        for id_ in taken:
            agenda.looked(id_, now, None, crowd=ids[id_])


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 3), st.booleans()), max_size=60),
    st.integers(1, 9),
)
def test_no_poll_is_lost_among_crowds(polls, limit):
    """
    Whatever leaves meanwhile, each id that is due is taken once, and the next look is the earliest.
    """
    agenda = Agenda()
    ids = {str(number): poll for number, poll in enumerate(polls)}
    for id_ in ids:
        agenda.add(id_, 0.0)
    agenda.take_due(0.0, 100)
    for id_, (at, crowd, _) in ids.items():
        agenda.hasten(id_, at, crowd=float(crowd))
    taken = agenda.take_due(2.0, limit)
    for id_ in [id_ for id_, (_, _, leaves) in ids.items() if leaves]:
        agenda.discard(id_)
    left = {id_: at for id_, (at, _, leaves) in ids.items() if not leaves and id_ not in taken}

    at = agenda.next_look()

    assert (at is None) == (not left)
    if at is not None:
        assert at == min(left.values()) or (at < 0 and min(left.values()) <= 2.0)
    due = {id_ for id_, at in left.items() if at <= 3.0}
    portions = []
    while portion := agenda.take_due(3.0, limit):
        portions += portion
    assert sorted(due) == sorted(portions)


def test_a_call_overtakes_a_poll_that_is_late():
    """
    An id whose poll is due anyway does not wait for its turn among the polls when it rings.
    """
    agenda = Agenda()
    for number in range(1000):
        agenda.add(str(number), 0.0)
    for id_ in agenda.take_due(0.0, 1000):
        agenda.looked(id_, 0.0, None)

    agenda.call("999")

    assert "999" in agenda.take_due(1.0, 5)
