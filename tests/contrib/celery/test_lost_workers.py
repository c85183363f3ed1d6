"""
Workers that are killed while they run a chord's member: the chord goes on.
"""

from __future__ import annotations

import pytest
from celery import chord
from celery.exceptions import ChordError, WorkerLostError

WAIT = 60
pytestmark = pytest.mark.parametrize("running", ["prefork-redis"], indirect=True)


def test_member_is_killed(app, t):
    """The body fails if a member's process is killed."""
    body = chord([t.same.s(1), t.killed.s(), t.same.s(2)], t.same.s()).delay()
    fresh = app.AsyncResult(body.id)
    with pytest.raises(ChordError, match="WorkerLostError"):
        fresh.get(timeout=WAIT)
    with pytest.raises(WorkerLostError):
        body.get(timeout=WAIT)


def test_member_is_killed_and_runs_again(t):
    """The body gets what the member returns when it is delivered again."""
    body = chord([t.same.s(1), t.killed_once.s()], t.same.s()).delay()

    assert [1, "second"] == body.get(timeout=WAIT)


@pytest.mark.parametrize("where", ["before the look", "before the start"])
def test_last_is_killed_while_it_counts(app, t, where):
    """The body fails if the process of the last member is killed before it has started it."""
    body = chord([t.same.s(1), t.killed_counting.s(where)], t.same.s()).delay()
    with pytest.raises(ChordError, match="WorkerLostError"):
        app.AsyncResult(body.id).get(timeout=WAIT)
