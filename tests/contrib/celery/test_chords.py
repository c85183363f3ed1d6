"""
How chords are counted, on several stores: whoever comes, how often, and in which order.
"""

from __future__ import annotations

import random
import threading
import uuid

import pytest
from billiard.exceptions import WorkerLostError
from celery import group, states
from celery.app.task import Context
from celery.backends.base import Backend
from celery.exceptions import ChordError
from celery.result import AsyncResult, GroupResult
from kombu.exceptions import EncodeError
from support.celery_tasks import Refused, application

import coatcheck
from coatcheck_celery import bodies, chords

#: Nobody is waited for who may be repeating a store.
QUICK = {"retry_policy": {"max_retries": 0}}
GROUP = "the-group"
BODY = "the-body"


class Header:
    """
    A chord of which a test plays the members.
    """

    def __init__(self, backend, size, monkeypatch):
        self.backend = backend
        self.body = backend.app.t.total.s().set(task_id=BODY)
        self.started = []
        monkeypatch.setattr(backend, "_publish", lambda _, values: self.started.append(values))
        if size:
            self.send(size)

    def send(self, size):
        self.backend.apply_chord((GROUP, []), self.body)
        self.backend.set_chord_size(GROUP, size)

    def request(self, n, index=..., **more):
        index = n if index is ... else index
        return Context(
            id=f"t{n}", group=GROUP, group_index=index, chord=self.body, errbacks=None, **more
        )

    def done(self, n, value=..., **options):
        value = n * 10 if value is ... else value
        self.backend.mark_as_done(f"t{n}", value, self.request(n, **options))

    def fail(self, n, error, **options):
        self.backend.mark_as_failure(f"t{n}", error, request=self.request(n, **options))

    def die(self, n, *, stored):
        """Do what a worker does until it dies: before its record is stored, or after."""
        request = self.request(n)
        self.backend._arrive(request, states.SUCCESS, n * 10, stored=True)
        if stored:
            self.backend.store_result(f"t{n}", n * 10, states.SUCCESS, request=request)

    @property
    def error(self):
        """What the body failed with."""
        meta = self.backend.get_task_meta(BODY)
        assert states.FAILURE == meta["status"]
        return meta["result"]


@pytest.fixture(params=["redis", "sqlite", "memory"])
def backend(request, unit_server, tmp_path):
    url = {
        "redis": f"coatcheck+{unit_server.url}",
        "sqlite": f"coatcheck+sqlite:///{tmp_path}/results.db",
        "memory": f"coatcheck+memory://{uuid.uuid4()}",
    }[request.param]
    app = application(
        "memory://", url, result_chord_join_timeout=0.3, result_backend_transport_options=QUICK
    )
    yield app.backend
    app.backend.results.close()
    unit_server.ask("FLUSHALL")


@pytest.fixture
def header(backend, monkeypatch):
    """Makes a chord of a size."""
    return lambda size: Header(backend, size, monkeypatch)


def left(backend):
    """Return what of the chord is left in the store."""
    prefix = f"celery-chord-{GROUP}."
    ids = backend.results.backend.scan(prefix)
    return {id_.removeprefix(prefix).removeprefix(f"{BODY}.") for id_ in ids}


@pytest.mark.parametrize("size", [1, 3, 50, 51, 130])
def test_all_orders(header, backend, size):
    """The last one starts the body, whoever that is, and nothing but the claim is left."""
    chord = header(size)
    order = list(range(size))
    random.Random(size).shuffle(order)
    for n in order:
        assert [] == chord.started
        chord.done(n)

    assert [[n * 10 for n in range(size)]] == chord.started
    assert {"claim"} == left(backend)


class Run(Header):
    """
    One run of a chord that was frozen: its tasks have the same ids each time.
    """

    def __init__(self, backend, size, monkeypatch, body):
        super().__init__(backend, 0, monkeypatch)
        self.size, self.body = size, backend.app.t.total.s().set(task_id=body)

    def begin(self):
        self.backend.apply_chord((GROUP, []), self.body)

    def say_size(self):
        self.backend.set_chord_size(GROUP, self.size)


@pytest.mark.parametrize("bodies", [("b", "b"), ("b", "c")], ids=["same", "another"])
@pytest.mark.parametrize("early", [0, 1, 2])
def test_applied_again(backend, monkeypatch, bodies, early):
    """Each run starts its body, however early members come and however late the first run clears up."""
    first, second = (Run(backend, 3, monkeypatch, body) for body in bodies)
    first.begin()
    first.say_size()
    first.done(0)
    first.done(1)
    finish = backend._arrive(first.request(2), states.SUCCESS, 20, stored=True)
    backend.store_result("t2", 20, states.SUCCESS)
    clear_up = []

    def put_off(completion):
        clear_up.append(completion)

    with monkeypatch.context() as patch:  # the body is started, and its result had by the client
        patch.setattr(chords.Completion, "close", put_off)
        finish()
    assert 1 == len(second.started) == len(clear_up)
    second.begin()
    for n in range(early):
        second.done(n)
    second.say_size()
    clear_up[0].close()
    for n in range(early, 3):
        second.done(n)

    assert [[0, 10, 20]] * 2 == second.started


@pytest.mark.parametrize("body", ["b", "c"])
def test_applied_again_when_it_is_over(backend, monkeypatch, body):
    """Members that come before the size is said are not taken for late ones of the first run."""
    for id_ in ("b", body):
        run = Run(backend, 2, monkeypatch, id_)
        run.begin()
        run.done(0)
        run.say_size()
        run.done(1)

        assert [[0, 10]] == run.started


def test_many_at_once(header):
    """Threads that run every member twice, at once, start the body once."""
    chord = header(60)
    members = [*range(60), *range(60)]
    random.Random(1).shuffle(members)

    def run(mine):
        for n in mine:
            chord.done(n)

    threads = [threading.Thread(target=run, args=(members[i::8],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [n * 10 for n in range(60)] == chord.started[0]
    # A member that runs twice at the very moment of the start may start it twice.
    assert len(chord.started) <= 2


def test_late_copies(header, backend):
    """Members that come again when all is over change nothing."""
    chord = header(2)
    for n in (0, 1, 0, 1):
        chord.done(n)

    assert [[0, 10]] == chord.started
    assert {"claim"} == left(backend)


def test_copy_while_it_is_cleared_up(header, backend, monkeypatch):
    """A member that comes again while the chord ends leaves nothing behind."""
    chord = header(2)
    chord.done(0)
    get = chords.Chord._get

    def get_after_the_end(self, parts):
        monkeypatch.setattr(chords.Chord, "_get", get)
        chord.done(1)
        return get(self, parts)

    monkeypatch.setattr(chords.Chord, "_get", get_after_the_end)
    chord.done(0)

    assert [[0, 10]] == chord.started
    assert {"claim"} == left(backend)


def test_before_the_size_is_known(header, backend):
    """Members may be over before the last is sent."""
    chord = header(None)
    chord.done(0)
    backend.set_chord_size(GROUP, 2)
    chord.done(1)

    assert [[0, 10]] == chord.started


def test_a_group_inside_says_its_size(header, backend):
    """The size of a group inside the header, said under its id, does not make it smaller."""
    chord = header(3)
    chord.done(0)
    backend.set_chord_size(GROUP, 2)
    chord.done(1)
    assert [] == chord.started
    chord.done(2)

    assert [[0, 10, 20]] == chord.started


def test_sent_again(header, backend):
    """A chord that is sent again with the same id is another run."""
    chord = header(1)
    chord.done(0)
    chord.send(1)
    chord.done(0)

    assert [[0], [0]] == chord.started


# -- failures -----------------------------------------------------------------------------------


def test_failure(header, backend):
    """The body fails when all are over, with the first failure in the header's order."""
    chord = header(3)
    chord.fail(2, Refused("late"))
    chord.fail(1, Refused("no"))
    assert states.PENDING == backend.get_state(BODY)
    chord.done(0)

    assert [] == chord.started
    assert "Dependency t1 raised Refused('no')" == str(chord.error)
    assert {"claim"} == left(backend)


def test_success_after_failure(header):
    """A member that failed and is delivered again may yet succeed, until all are over."""
    chord = header(2)
    chord.fail(0, Refused("no"))
    chord.done(0)
    chord.done(1)

    assert [[0, 10]] == chord.started


def test_failure_after_success(header):
    """A worker that is lost after the task's success changes nothing."""
    chord = header(2)
    chord.done(0)
    chord.fail(0, WorkerLostError("lost"))
    chord.done(1)

    assert [[0, 10]] == chord.started


def test_body_that_cannot_be_sent(header, backend, monkeypatch):
    """The body fails if it cannot be sent."""
    chord = header(1)

    def publish(*_):
        raise OSError("no broker")

    monkeypatch.setattr(backend, "_publish", publish)
    chord.done(0)

    assert "Callback error: OSError('no broker')" == str(chord.error)


def test_unencodable_member(header):
    """A member whose value cannot be stored fails, and the body with it."""
    chord = header(2)
    chord.done(0)
    with pytest.raises(EncodeError) as caught:
        chord.done(1, value={1})
    chord.fail(1, caught.value)  # as a worker does

    assert [] == chord.started
    assert "Dependency t1 raised EncodeError" in str(chord.error)


# -- those who die ------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [False, True])
def test_last_dies_and_runs_again(header, stored):
    """The last member dies before it starts the body; delivered again, it goes on."""
    chord = header(2)
    chord.done(0)
    chord.die(1, stored=stored)
    assert [] == chord.started
    chord.done(1)

    assert [[0, 10]] == chord.started


def test_last_dies_for_good(header):
    """If the member is not run again, its worker stores a failure; so the body fails."""
    chord = header(2)
    chord.done(0)
    chord.die(1, stored=False)
    chord.fail(1, WorkerLostError("lost"))

    assert [] == chord.started
    assert "WorkerLostError" in str(chord.error)


def test_one_dies_before_it_stores(header):
    """A member that left its part and no record makes the body fail, and not wait."""
    chord = header(2)
    chord.die(0, stored=False)
    chord.done(1)

    assert [] == chord.started
    assert "Join error" in str(chord.error)


def test_one_stores_late(header, backend):
    """A member that left its part and is about to store is waited for."""
    chord = header(2)
    chord.die(0, stored=False)
    store = threading.Timer(0.1, backend.store_result, ("t0", 0, states.SUCCESS))
    store.start()
    chord.done(1)
    store.join()

    assert [[0, 10]] == chord.started


def test_one_dies_after_it_stored(header):
    """The next one counts what is there."""
    chord = header(2)
    chord.die(0, stored=True)
    chord.done(1)

    assert [[0, 10]] == chord.started


def test_claim_ends(header, monkeypatch):
    """After a while another member may start the body for one that died."""
    monkeypatch.setattr(chords, "LEASE", 0.2)
    chord = header(2)
    chord.done(0)
    chord.die(1, stored=True)
    chord.done(0)
    assert [] == chord.started
    threading.Event().wait(0.8)  # twice the time for the join
    chord.done(0)

    assert [[0, 10]] == chord.started


def test_values_that_are_gone(backend, monkeypatch):
    """Where a chord takes longer than values live its body fails, and does not wait."""
    backend.expires = backend._chord_expires = 0.2
    chord = Header(backend, 2, monkeypatch)
    chord.done(0)
    threading.Event().wait(1.3)  # some stores count in seconds
    chord.done(1)

    assert [] == chord.started
    assert "Join error" in str(chord.error)


# -- unusual headers ----------------------------------------------------------------------------


def test_shared_places(header, backend):
    """Members may share a place, or have none."""
    chord = header(5)
    for n, index in ((0, 0), (1, 0), (2, 1), (3, 0), (4, None)):
        assert [] == chord.started
        chord.done(n, index=index)

    assert [[0, 10, 20, 30, 40]] == [sorted(values) for values in chord.started]
    assert {"claim"} == left(backend)


@pytest.mark.parametrize("size", [2, 60])
def test_places_left_out(header, size):
    """Places may be left out, where a header held what is no task."""
    chord = header(size)
    for n in reversed(range(size)):
        assert [] == chord.started
        chord.done(n, index=n + 2)

    assert [[n * 10 for n in range(size)]] == chord.started


def test_added_tasks(header, backend):
    """Tasks that are added are waited for; the same one twice is one."""
    chord = header(2)
    chord.done(0)
    for task_id in ("t2", "t3", "t2"):
        backend.add_to_chord(GROUP, AsyncResult(task_id, app=backend.app))
    chord.done(1)
    chord.done(2, index=1)
    assert [] == chord.started
    chord.done(3, index=1)

    assert [[0, 10, 20, 30]] == chord.started
    assert {"claim"} == left(backend)


def test_added_while_parts_are_read(header, backend, monkeypatch):
    """A task that is added while another member reads is waited for."""
    chord, read = header(2), chords.Chord._get
    other = iter([lambda: chord.done(1)])

    def get(self, parts):
        parts = list(parts)
        found = read(self, [part for part in parts if not part.startswith("p")])
        if "p1" in parts and (late := next(other, None)):
            backend.add_to_chord(GROUP, AsyncResult("t2", app=backend.app))
            late()
        return found | read(self, [part for part in parts if part.startswith("p")])

    monkeypatch.setattr(chords.Chord, "_get", get)
    chord.done(0)
    assert [] == chord.started
    chord.done(2, index=1)

    assert [[0, 10, 20]] == chord.started


def test_nested_header(header, backend):
    """The body gets the nesting of the header."""
    app = backend.app
    chord = header(3)
    inner = GroupResult("inner", [AsyncResult(f"t{n}", app=app) for n in (1, 2)], app=app)
    backend.apply_chord((GROUP, [AsyncResult("t0", app=app), inner]), chord.body)
    for n, index in ((2, 1), (0, 0), (1, 0)):
        chord.done(n, index=index)

    assert [[0, [10, 20]]] == chord.started
    assert {"claim"} == left(backend)


def test_ignored_results(header, backend):
    """Members whose result is not stored count, with their value or exception."""
    chord = header(2)
    chord.done(0, ignore_result=True)
    chord.done(1, ignore_result=True)

    assert [[0, 10]] == chord.started
    assert states.PENDING == backend.get_state("t0")


def test_ignored_failures(header, backend):
    """A failure that is not stored fails the body."""
    chord = header(1)
    backend.mark_as_failure("t0", Refused("no"), request=chord.request(0), store_result=False)

    assert isinstance(chord.error, ChordError)
    assert states.PENDING == backend.get_state("t0")


def test_no_group(header, backend):
    """What is in no group is counted nowhere."""
    chord = header(None)
    backend.mark_as_done("t0", 1, Context(id="t0", chord=chord.body))

    assert 1 == backend.get_result("t0")
    assert set() == left(backend)


def test_outer_chord_hears_of_it(header, backend):
    """A body that fails counts in the chord in whose header it is."""
    chord = header(2)
    chord.body.set(chord=chord.backend.app.t.same.s().set(task_id="outer"))
    chord.body.set(group_id="outer-group", group_index=0)
    backend.set_chord_size("outer-group", 1)
    chord.fail(0, Refused("no"))
    chord.done(1)

    assert "Dependency the-body" in str(backend.get_result("outer"))


def test_error_callbacks_are_told_once(header, backend, monkeypatch):
    """Of the error callbacks of a body those are left out that were called for the member."""
    t = backend.app.t
    chord = header(1)
    once, also = t.note.si("once"), t.note.si("also")
    told = []
    monkeypatch.setattr(
        Backend,
        "_call_task_errbacks",
        lambda _, request, *__: told.extend(errback["args"][0] for errback in request.errbacks),
    )
    chord.body = t.same.s().set(task_id=BODY, link_error=[once, also])
    backend.on_chord_part_return(
        chord.request(0), states.FAILURE, Refused("no"), [["note", ["once"], {}]]
    )

    assert ["also"] == told


def test_error_callbacks_of_groups(backend):
    """So it is of a group's tasks, and of the group itself."""
    t = backend.app.t
    once, also = t.note.si("once"), t.note.si("also")
    body = group(t.same.s().set(link_error=[once, also]), t.same.s().set(link_error=once))
    left = bodies.untold(body.set(link_error=once), [["note", ["once"], {}]], backend.app)

    assert [] == left.options["link_error"]
    assert [[also], []] == [task.options["link_error"] for task in left.tasks]
    assert [["note", ["also"], {}]] == bodies.errbacks_of(left, backend.app)


def test_store_goes_away_in_the_end(header, backend, monkeypatch):
    """If nothing can be deleted when the body was started, it was started."""
    chord = header(1)

    def close(_):
        raise coatcheck.BackendUnavailableError("away")

    monkeypatch.setattr(chords.Completion, "close", close)
    chord.done(0)

    assert [[0]] == chord.started
    assert 0 == backend.get_result("t0")
