"""
Groups, chains and chords, run by a worker: on every kind of store.
"""

from __future__ import annotations

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import GroupResult
from support.celery_tasks import Refused

WAIT = 30


def sums(t, n):
    """Return signatures whose values are 0, 2, 4 and so on."""
    return [t.add.s(i, i) for i in range(n)]


def body_of(result):
    """Return what the body of a chord gives; not what those before it raise."""
    fresh = result.app.AsyncResult(result.id)
    return fresh.get(timeout=WAIT)


# -- groups -----------------------------------------------------------------------------------


def test_group(t):
    """The values of a group come in its order."""
    result = group(sums(t, 10)).delay()

    assert list(range(0, 20, 2)) == result.get(timeout=WAIT)
    assert result.successful()
    assert result.ready()
    assert 10 == result.completed_count()
    assert list(range(0, 20, 2)) == result.join(timeout=WAIT)


def test_group_as_it_comes(t):
    """Members are had as they become ready, and callbacks are called with them."""
    result = group(t.sleep.s(0.6), t.sleep.s(0.0)).delay()
    seen = []
    metas = dict(result.iter_native(timeout=WAIT))
    result.join_native(timeout=WAIT, callback=lambda *pair: seen.append(pair))

    assert {r.id: v for r, v in zip(result.results, [0.6, 0.0], strict=True)} == {
        task_id: meta["result"] for task_id, meta in metas.items()
    }
    assert {(r.id, r.result) for r in result.results} == set(seen)


def test_nested_group(t):
    """A group in a group gives a list in the list."""
    result = group(t.same.s(1), chain(t.same.s(2), group(t.add.s(1), t.add.s(2)))).delay()

    assert [1, [3, 4]] == result.get(timeout=WAIT)


def test_group_that_fails(t):
    """The first failure is raised; without propagation exceptions are values."""
    result = group(t.same.s(1), t.fail.s("no")).delay()
    with pytest.raises(Refused, match="no"):
        result.get(timeout=WAIT)
    first, second = result.get(timeout=WAIT, propagate=False)

    assert 1 == first
    assert isinstance(second, Refused)
    assert result.failed()


def test_group_that_is_late(t):
    """A wait for a group ends when it was to."""
    result = group(t.same.s(1), t.sleep.s(1)).delay()
    with pytest.raises(CeleryTimeoutError):
        result.get(timeout=0.2)

    assert [1, 1] == result.get(timeout=WAIT)


def test_saved_group(t, app):
    """A group is saved, restored, and deleted; with its parent, if the store can keep that."""
    result = (t.same.s(1) | group(t.add.s(1), t.add.s(2))).delay()
    assert [2, 3] == result.get(timeout=WAIT)
    result.save()
    restored = GroupResult.restore(result.id, app=app)

    assert result.results == restored.results
    assert restored.parent == (None if "mongodb" in app.conf.result_backend else result.parent)
    assert [2, 3] == restored.get(timeout=WAIT)
    restored.delete()
    assert GroupResult.restore(result.id, app=app) is None


def test_group_then(t):
    """A callback on a group is called when all its members are known to be ready."""
    seen = []
    result = group(sums(t, 2)).delay()
    result.then(lambda ready: seen.append(sorted(r.result for r in ready.results)))
    result.get(timeout=WAIT)

    assert [[0, 2]] == seen


# -- chains -----------------------------------------------------------------------------------


def test_chain(t):
    """Each task gets the value of the one before; parents can be read."""
    result = (t.add.s(1, 1) | t.add.s(2) | t.add.s(3)).delay()

    assert 7 == result.get(timeout=WAIT)
    assert 4 == result.parent.get(timeout=WAIT)
    assert 2 == result.parent.parent.get(timeout=WAIT)


def test_chain_that_fails(t):
    """Whoever waits for the end of a chain hears of a failure in it."""
    with pytest.raises(Refused):
        (t.fail.s() | t.add.s(2) | t.add.s(3)).delay().get(timeout=WAIT)


def test_chain_with_groups(t):
    """A group in a chain becomes a chord."""
    result = chain(t.add.s(1, 1), group(t.add.s(2), t.add.s(3)), t.total.s(), t.add.s(1)).delay()

    assert 10 == result.get(timeout=WAIT)


def test_replaced(t):
    """A task that is replaced by others gives what they give."""
    assert 12 == t.replaced.delay(4).get(timeout=WAIT)


# -- chords -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 10, 120])
def test_chord(t, n):
    """The body gets all values of the header, in its order, for headers of any size."""
    assert list(range(0, 2 * n, 2)) == chord(sums(t, n), t.same.s()).delay().get(timeout=WAIT)


@pytest.mark.parametrize("n", [1, 60])
def test_generated_chord(t, n):
    """The header may be generated."""
    header = (t.add.s(i, i) for i in range(n))

    assert n * (n - 1) == chord(header, t.total.s()).delay().get(timeout=WAIT)


def test_empty_chord(t):
    """The body of an empty header gets an empty list."""
    assert [] == chord([], t.same.s()).delay().get(timeout=WAIT)


def test_chord_of_chords(t):
    """A chord may be a member of a header, and a body."""
    inner = chord(sums(t, 3), t.total.s())
    result = chord([inner, t.same.s(1), inner], chord([t.same.s(), t.total.s()], t.same.s()))

    assert [[6, 1, 6], 13] == result.delay().get(timeout=WAIT)


def test_chord_with_groups(t):
    """The body gets the values of a nested header nested."""
    header = [t.same.s(1), chain(t.same.s(2), group(t.add.s(1), t.add.s(2))), t.same.s(5)]

    assert [1, [3, 4], 5] == chord(header, t.same.s()).delay().get(timeout=WAIT)


def test_chord_with_group_as_body(t):
    """The body may be a group."""
    result = chord(sums(t, 3), group(t.total.s(), t.same.s())).delay()

    assert [6, [0, 2, 4]] == result.get(timeout=WAIT)


def test_chord_that_fails(t):
    """Who waits gets the failure of the header, as a ChordError where parents are left aside."""
    result = chord([t.same.s(1), t.fail.s("no")], t.same.s()).delay()
    with pytest.raises(Refused, match="no"):
        result.get(timeout=WAIT)
    with pytest.raises(ChordError, match=r"Refused.*no"):
        body_of(result)


def test_chord_with_error_callback(t, tmp_path):
    """The error callback of the body is called once."""
    path = tmp_path / "note"
    body = t.same.s().on_error(t.note.si(str(path)))
    with pytest.raises(ChordError):
        body_of(chord([t.fail.s(), t.fail.s(), t.same.s(1)], body).delay())
    t.same.delay(1).get(timeout=WAIT)
    t.sleep.delay(0.3).get(timeout=WAIT)

    assert "x" == path.read_text()


def test_failure_in_the_chain_of_a_chord(t):
    """A header's member that is a chain fails the body wherever it fails."""
    header = [t.same.s(1), chain(t.fail.s(), t.add.s(1), t.add.s(2))]
    with pytest.raises(ChordError):
        body_of(chord(header, t.same.s()).delay())


BODIES = {
    "task": lambda t: t.same.s(),
    "chain": lambda t: t.same.s() | t.same.s(),
    "group": lambda t: group(t.same.s(), t.same.s()),
    "chord": lambda t: chord([t.same.s(), t.same.s()], t.same.s()),
    "chain-group": lambda t: t.same.s() | group(t.same.s(), t.same.s()),
    "chain-chord": lambda t: chain(t.same.s(), group(t.same.s(), t.same.s()), t.same.s()),
}


@pytest.mark.parametrize("body", BODIES)
def test_failure_in_a_nested_chord(t, body):
    """A failure in a chord within the header fails the outer body, whatever the inner body is."""
    inner = chord([t.same.s(1), t.fail.s()], BODIES[body](t))
    with pytest.raises(ChordError):
        body_of(chord([inner, t.same.s(2)], t.same.s()).delay())


@pytest.mark.parametrize("body", BODIES)
def test_nested_chord(t, body):
    """So its values come through, if nothing fails."""
    inner = chord([t.same.s(1), t.same.s(3)], BODIES[body](t))
    values = chord([inner, t.same.s(2)], t.same.s()).delay().get(timeout=WAIT)

    assert 2 == values[1]
    assert str([1, 3]) in str(values[0])


@pytest.mark.filterwarnings("ignore:task_allow_error_cb_on_chord_header")
def test_error_callback_of_nested_chords(t, tmp_path):
    """A callback that is linked to a chord is called once, if a chord in its header fails too."""
    path = tmp_path / "note"
    inner = chord([t.same.s(1), t.fail.s()], t.same.s())
    outer = chord([inner, t.same.s(2)], t.same.s())
    outer.link_error(t.note.si(str(path)))
    with pytest.raises(ChordError):
        body_of(outer.delay())
    t.sleep.delay(0.3).get(timeout=WAIT)

    assert "x" == path.read_text()


def test_chord_of_replaced_tasks(t):
    """A member may be replaced."""
    result = chord([t.replaced.s(3), t.same.s(1)], t.same.s()).delay()

    assert [6, 1] == result.get(timeout=WAIT)


def test_chord_that_grows(t):
    """A member may add tasks to its chord."""
    values = chord([t.extended.s(1), t.extended.s(2)], t.same.s()).delay().get(timeout=WAIT)

    assert [1, 2, 10, 20] == sorted(values)


def test_chord_of_ignored_results(t):
    """Members whose result is ignored count, and the body gets their values."""
    result = chord([t.ignored.s(1), t.ignored.s(2)], t.total.s()).delay()

    assert 3 == result.get(timeout=WAIT)


def test_chord_in_a_task(t, app):
    """A task may start a chord."""
    body = t.starts_chord.delay(3).get(timeout=WAIT)

    assert 6 == app.AsyncResult(body).get(timeout=WAIT)


def test_members_are_known_to_be_ready(t):
    """The header's results can be read of the body's parent."""
    result = chord(sums(t, 5), t.total.s()).delay()
    result.get(timeout=WAIT)

    assert result.parent.ready()
    assert [0, 2, 4, 6, 8] == result.parent.get(timeout=WAIT)


@pytest.mark.parametrize("running", ["prefork-redis"], indirect=True)
def test_waits_within_tasks(t):
    """Tasks may wait for others, where Celery lets them."""
    assert [0, 2] == t.waits.delay(2).get(timeout=WAIT)
