"""
Who waits for what: the part of the hub without I/O, on a clock of the test's own.
"""

import json

import pytest

from coatcheck._backends.logs import Log
from coatcheck._coding.codec import Codec
from coatcheck._waiting.heartbeats import LOST_AFTER
from coatcheck._waiting.tail import Tail
from coatcheck._waiting.waiter import Waiter
from coatcheck._waiting.waits import Waits
from coatcheck.errors import BackendError, BackendUnavailableError, WaitTimeoutError

CODEC = Codec()


class Recorder(Waiter):
    """
    A waiter that counts how often it was woken.
    """

    def __init__(self, *task_ids, **options):
        super().__init__(task_ids, **options)
        self.woken = 0

    def notify(self):
        self.woken += 1

    def all(self):
        """
        Take the states of everything that was delivered.
        """
        metas = iter(self.take, None)
        return [(meta.task_id, meta.status) for meta in metas]


def record(task_id, status="SUCCESS", **fields):
    """
    Return the snapshot of a record.
    """
    return CODEC.decode(task_id, json.dumps({"status": status, **fields}).encode())


def records(*metas):
    """
    Return snapshots as a read returns them.
    """
    return {meta.task_id: meta for meta in metas}


@pytest.fixture
def waits():
    """
    Nobody waits.
    """
    return Waits(safety_look=5.0, operation_timeout=2.0)


def joined(waits, waiter, now=0.0):
    """
    Have *waiter* join and its tasks subscribed to.
    """
    waits.join(waiter, now)
    waits.to_watch(10_000, now)
    return waiter


def look(waits, now, *metas, pushing=True):
    """
    Look at what is due, finding *metas*; return what was due, and whose worker is lost.
    """
    due = waits.take_due(now, 10_000)
    lost = waits.absorb(due, records(*metas), now, pushing=pushing)
    return due, [meta.task_id for meta in lost]


# -- from joining to the record -------------------------------------------------------------


def test_tasks_are_subscribed_to_before_they_are_looked_at(waits):
    """
    A task is due for its first look only after it was handed out for subscription.
    """
    waits.join(Recorder("a"), 0.0)

    assert [] == waits.take_due(0.0)
    assert 7.0 == waits.next_look(7.0)
    assert ["a"] == waits.to_watch(10, 1.0)
    assert ["a"] == waits.take_due(1.0)
    assert [] == waits.to_watch(10, 1.0)


def test_subscriptions_are_handed_out_in_portions(waits):
    """
    No more than the limit is handed out at once, and everything in the end.
    """
    waits.join(Recorder(*map(str, range(25))), 0.0)

    portions = [waits.to_watch(10, 0.0) for _ in range(4)]

    assert [10, 10, 5, 0] == [*map(len, portions)]
    assert 25 == len({id_ for portion in portions for id_ in portion})


def test_a_wait_that_looks_once_is_not_subscribed_to(waits):
    """
    A wait with a timeout of 0 is due at once, and costs no subscription.
    """
    waits.join(Recorder("a", timeout=0), 0.0)

    assert [] == waits.to_watch(10, 0.0)
    assert ["a"] == waits.take_due(0.0)


def test_what_is_ready_is_delivered_to_everybody(waits):
    """
    Each waiter gets the record once, is woken, and waits for the rest.
    """
    one = joined(waits, Recorder("a", "b"))
    two = joined(waits, Recorder("a"))

    look(waits, 0.0, record("a"))

    assert [("a", "SUCCESS")] == one.all() == two.all()
    assert ({"b"}, set()) == (set(one.pending), set(two.pending))
    assert (1, 1) == (one.woken, two.woken)
    assert [] == one.all()


def test_what_is_not_ready_is_not_delivered(waits):
    """
    An unready or absent record leaves the waiter waiting.
    """
    waiter = joined(waits, Recorder("a", "b"))

    look(waits, 0.0, record("a", "STARTED"))

    assert [] == waiter.all()
    assert {"a", "b"} == set(waiter.pending)
    assert not waiter.unlooked


def test_a_record_is_not_looked_at_again(waits):
    """
    A task that is ready is not due any longer, and its subscription is given up.
    """
    joined(waits, Recorder("a"))
    look(waits, 0.0, record("a"))

    assert waits.idle
    assert waits.next_look(0.0) is None
    assert ["a"] == waits.to_unwatch()
    assert [] == waits.to_unwatch()


def test_a_record_that_cannot_be_read_is_not_ready(waits):
    """
    A record without a readable state is waited for.
    """
    waiter = joined(waits, Recorder("a"))

    look(waits, 0.0, CODEC.decode("a", b"garbage"))
    look(waits, 10.0, CODEC.decode("a", b'{"status": ["SUCCESS"]}'))

    assert {"a"} == set(waiter.pending)


def test_many_tasks_are_one_wake_up(waits):
    """
    However many of its tasks one look finds ready, the waiter is woken once.
    """
    ids = [str(number) for number in range(10_000)]
    waiter = joined(waits, Recorder(*ids))

    due, _ = look(waits, 0.0, *map(record, ids))

    assert sorted(ids) == sorted(due)
    assert 1 == waiter.woken
    assert 10_000 == len(waiter.all())
    assert waits.idle


def test_only_what_rang_is_looked_at(waits):
    """
    Of ten thousand tasks under push only the one that rang is due.
    """
    joined(waits, Recorder(*map(str, range(10_000))))
    look(waits, 0.0)

    waits.ring(["77", "unknown"])

    assert ["77"] == waits.take_due(1.0)


def test_the_safety_look_comes_without_a_ring(waits):
    """
    Under push everything is looked at again after the safety look, and no earlier.
    """
    joined(waits, Recorder("a"))
    look(waits, 0.0)

    assert 4.5 <= waits.next_look(0.0) <= 6.25
    assert [] == waits.take_due(4.4)
    assert ["a"] == waits.take_due(6.25)


def test_without_push_looks_are_frequent(waits):
    """
    Where the store does not ring, the pauses are the adaptive ones.
    """
    joined(waits, Recorder("a"))
    look(waits, 0.0, pushing=False)

    assert waits.next_look(0.0) <= 0.00125


# -- once more, and leaving -----------------------------------------------------------------


def test_the_last_look_is_at_everything_pending(waits):
    """
    Before it gives up a waiter has all that is pending looked at again, at once.
    """
    waiter = joined(waits, Recorder("a", "b"))
    look(waits, 0.0, record("a"))

    waits.look_again(waiter, 1.0)

    assert waiter.unlooked
    assert ["b"] == waits.take_due(1.0)


def test_the_last_look_leaves_what_is_yet_to_be_subscribed_to(waits):
    """
    A task that waits for its subscription is not looked at before.
    """
    waiter = Recorder("a")
    waits.join(waiter, 0.0)

    waits.look_again(waiter, 1.0)

    assert [] == waits.take_due(1.0)
    assert ["a"] == waits.to_watch(10, 1.0)


@pytest.mark.parametrize("timeout", [0, 1, None])
def test_a_look_from_before_the_wait_does_not_count(waits, timeout):
    """
    A look that was under way when the wait began may have come too early: another one counts.
    """
    joined(waits, Recorder("a"))
    due = waits.take_due(0.0)
    late = joined(waits, Recorder("a", timeout=timeout), 0.1)

    waits.absorb(due, {}, 0.2, pushing=True)
    assert late.unlooked
    look(waits, 0.2)

    assert not late.unlooked


def test_a_look_from_before_the_deadline_does_not_count(waits):
    """
    A look that was under way at the deadline may have come too early: another one counts.
    """
    waiter = joined(waits, Recorder("a"))
    due = waits.take_due(0.0)
    waits.look_again(waiter, 0.1)

    waits.absorb(due, {}, 0.2, pushing=True)
    assert waiter.unlooked
    look(waits, 0.2, record("a"))

    assert [("a", "SUCCESS")] == waiter.all()


def test_an_early_look_still_delivers(waits):
    """
    What a look from before the wait finds ready is delivered all the same.
    """
    joined(waits, Recorder("a"))
    due = waits.take_due(0.0)
    late = joined(waits, Recorder("a", timeout=0), 0.1)

    waits.absorb(due, records(record("a")), 0.2, pushing=True)

    assert [("a", "SUCCESS")] == late.all()


@pytest.mark.parametrize("status", ["SUCCESS", "STARTED"])
@pytest.mark.parametrize("under_way", [True, False], ids=["a look", "a lost worker's end"])
def test_a_record_without_its_log_does_not_count(waits, status, under_way):
    """
    Who follows a log gets no record from a look that did not read the log for it: another look does both.
    """
    first = joined(waits, Recorder("a", updates=True, tail=Tail(0)))
    due = waits.take_due(0.0)
    for _, tail in waits.tails(records(record("a", status))):
        tail.log = Log((b"event",), 1)
    if not under_way:
        waits.absorb(due, records(record("a", "STARTED")), 0.1, pushing=True)
        due = ["a"]
    late = joined(waits, Recorder("a", updates=True, tail=Tail(0)), 0.1)

    waits.absorb(due, records(record("a", status)), 0.2, pushing=True)
    assert ("a", status) == first.all()[-1]
    assert [] == late.all()
    due = waits.take_due(0.2)
    for _, tail in waits.tails(records(record("a", status))):
        tail.log = Log((b"event",), 1)
    waits.absorb(due, records(record("a", status)), 0.3, pushing=True)

    assert ["a"] == due
    assert [("a", status)] == late.all()


def test_who_leaves_is_told_nothing_more(waits):
    """
    A waiter that left gets nothing, and a task that nobody waits for is forgotten.
    """
    one, two = joined(waits, Recorder("a", "b")), joined(waits, Recorder("a"))

    waits.leave(one)

    assert ["b"] == waits.to_unwatch()
    assert ["a"] == waits.take_due(0.0)
    waits.absorb(["a"], records(record("a")), 0.0, pushing=True)
    assert ([], [("a", "SUCCESS")]) == (one.all(), two.all())
    assert waits.idle


def test_leaving_twice_or_what_is_over_is_no_error(waits):
    """
    A waiter may leave what is no longer waited for.
    """
    waiter = joined(waits, Recorder("a"))
    waits.leave(waiter)
    waits.leave(waiter)

    assert waits.idle
    assert waits.next_look(0.0) is None


def test_leaving_before_the_subscription(waits):
    """
    A task that is left before it was subscribed to is not subscribed to, nor given up.
    """
    waiter = Recorder("a")
    waits.join(waiter, 0.0)
    waits.leave(waiter)

    assert ([], []) == (waits.to_watch(10, 0.0), waits.to_unwatch())


def test_joining_again_keeps_the_subscription(waits):
    """
    A task that is waited for again before its subscription was given up keeps it.
    """
    first = joined(waits, Recorder("a"))
    waits.leave(first)
    waits.join(Recorder("a"), 1.0)

    assert ([], []) == (waits.to_watch(10, 1.0), waits.to_unwatch())
    assert ["a"] == waits.take_due(1.0)


def test_joining_after_the_subscription_was_given_up(waits):
    """
    A task that is waited for again later is subscribed to anew.
    """
    waits.leave(joined(waits, Recorder("a")))
    waits.to_unwatch()
    waits.join(Recorder("a"), 1.0)

    assert ["a"] == waits.to_watch(10, 1.0)


@pytest.mark.parametrize("status", ["SUCCESS", "STARTED"])
def test_leaving_while_a_look_is_under_way(waits, status):
    """
    What a look finds for a task that was left meanwhile comes to nothing.
    """
    waiter = joined(waits, Recorder("a"))
    due = waits.take_due(0.0)
    waits.leave(waiter)

    lost = waits.absorb(
        due, records(record("a", status, heartbeat={"every": 1, "beat": 1})), 0.0, pushing=True
    )

    assert [] == lost
    assert waits.idle
    assert waits.next_look(0.0) is None
    assert (0, 0) == (len(waits._heartbeats), waiter.woken)
    assert not waits._agenda.is_taken("a")


def test_nothing_outlives_its_wait(waits):
    """
    After waits that ended in every way nothing is kept of them.
    """
    beat = {"heartbeat": {"every": 1, "beat": 1}}
    for number in range(100):
        waiter = joined(waits, Recorder(f"{number}", f"{number}x"), float(number))
        look(waits, float(number), record(f"{number}"), record(f"{number}x", "STARTED", **beat))
        waits.leave(waiter)
        waits.to_unwatch()

    kept = {name: value for name, value in vars(waits).items() if isinstance(value, dict | set)}
    assert kept
    assert not any(kept.values())
    assert (0, 0) == (len(waits._agenda), len(waits._heartbeats))


# -- updates --------------------------------------------------------------------------------


def test_updates_are_what_changed(waits):
    """
    A waiter for updates gets each unready record that differs from the last, and the ready one.
    """
    waiter = joined(waits, Recorder("a", updates=True))
    found = [
        record("a", "STARTED", result={"pid": 1}),
        record("a", "STARTED", result={"pid": 1}, write_id="another write"),
        record("a", "PROGRESS", result=1, heartbeat={"every": 1, "beat": 1}),
        record("a", "PROGRESS", result=1, heartbeat={"every": 1, "beat": 2}),
        record("a", "PROGRESS", result=2),
        record("a", "PROGRESS", result=2, traceback="tb"),
        record("a", "SUCCESS"),
    ]

    for now, meta in enumerate(found):
        waits.ring(["a"])
        look(waits, float(now), meta)

    assert ["STARTED", "PROGRESS", "PROGRESS", "PROGRESS", "SUCCESS"] == [
        status for _, status in waiter.all()
    ]


def test_others_get_no_updates(waits):
    """
    A waiter that did not ask for updates gets the ready record only.
    """
    waiter = joined(waits, Recorder("a"))
    look(waits, 0.0, record("a", "PROGRESS", result=1))

    assert [] == waiter.all()


class Array:
    """
    Compares as arrays do: with no truth value.
    """

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise ValueError("ambiguous")

    __hash__ = None


def test_values_that_cannot_be_compared_are_news(waits):
    """
    A value of a pickle that has no truth value does not end the hub.
    """
    waiter = joined(waits, Recorder("a", updates=True))
    for now in (0.0, 1.0):
        waits.ring(["a"])
        document = {"status": "PROGRESS", "result": Array(), "task_id": "a"}
        look(waits, now, CODEC.written(document))

    assert 2 == len(waiter.all())


# -- trouble --------------------------------------------------------------------------------


def test_a_failed_look_is_told_and_repeated(waits):
    """
    A waiter hears of the store's error, and the task is looked at again soon.
    """
    waiter = joined(waits, Recorder("a"))
    error = BackendError("away")

    waits.failed(waits.take_due(0.0), error, 0.0)

    assert (error, 1) == (waiter.last_error, waiter.failures)
    assert waiter.unlooked
    assert waits.next_look(0.0) <= 0.00125


@pytest.mark.parametrize("attentive", [False, True])
def test_only_the_attentive_are_woken_in_vain(waits, attentive):
    """
    A look that finds nothing, or fails, wakes only who is at its last look.
    """
    waiter = joined(waits, Recorder("a", "b"))
    waiter.attentive = attentive

    look(waits, 0.0, record("a", "STARTED"))
    waits.ring(["a", "b"])
    waits.failed(waits.take_due(1.0), BackendError("away"), 1.0)

    assert (2 if attentive else 0) == waiter.woken


def test_a_look_that_succeeds_clears_the_error(waits):
    """
    After a look that worked the store's last error is forgotten.
    """
    waiter = joined(waits, Recorder("a"))
    waits.failed(waits.take_due(0.0), BackendError("away"), 0.0)
    look(waits, 1.0)

    assert (None, 1) == (waiter.last_error, waiter.failures)


@pytest.mark.parametrize("timeout", [0, 1])
def test_a_last_look_that_fails_in_part_says_why(waits, timeout):
    """
    The error of one part of a last look is not forgotten for another part that went well.
    """
    waiter = joined(waits, Recorder("a", "b", timeout=timeout))
    waits.take_due(0.0)
    waiter.attentive = waiter.over = True
    waits.failed(["a"], error := BackendError("away"), 0.0)
    waits.absorb(["b"], {}, 0.0, pushing=True)

    with pytest.raises(WaitTimeoutError, match="away") as info:
        waiter.check()
    assert error is info.value.last_error


def test_a_broken_wait_says_why(waits):
    """
    An error that no patience helps against breaks the waits for its tasks only.
    """
    one, two = joined(waits, Recorder("a")), joined(waits, Recorder("b"))
    error = RuntimeError("a bug")

    waits.abort(["a"], error)

    assert (error, None) == (one.fatal, two.fatal)
    assert (1, 0) == (one.woken, two.woken)
    with pytest.raises(RuntimeError, match="a bug"):
        one.check()


def test_all_waits_can_be_broken(waits):
    """
    On closing every wait is broken.
    """
    waiters = [joined(waits, Recorder(id_)) for id_ in "abc"]
    error = BackendError("closed")

    waits.abort_all(error)

    assert [error] * 3 == [waiter.fatal for waiter in waiters]


def test_after_a_broken_look_the_next_one_counts(waits):
    """
    A look that broke off is not taken for one that is under way.
    """
    first = joined(waits, Recorder("a"))
    waits.abort(waits.take_due(0.0), RuntimeError())
    waits.leave(first)
    waiter = joined(waits, Recorder("a", timeout=0), 1.0)
    look(waits, 1.0)

    assert not waiter.unlooked


def test_what_ends_a_wait():
    """
    A wait goes on until its last look; after it the timeout names what is pending.
    """
    waiter = Recorder("a", timeout=5)
    waiter.check()
    waiter.over = True
    with pytest.raises(WaitTimeoutError, match=r"not ready after 5 s: 'a'$") as info:
        waiter.check()
    assert info.value.__cause__ is None


def test_a_timeout_names_the_last_error():
    """
    The store's last error is the cause of the timeout that follows.
    """
    waiter = Recorder("a", timeout=5)
    error = BackendError("away")
    waiter.failed(error)
    waiter.over = True

    with pytest.raises(WaitTimeoutError, match="away") as info:
        waiter.check()

    assert error is info.value.__cause__ is info.value.last_error


def test_what_cannot_be_read_is_the_reason(waits):
    """
    A record whose state cannot be read is waited over; the timeout says why it was none.
    """
    waiter = joined(waits, Recorder("t", timeout=1.0))
    foreign = records(CODEC.decode("t", b"SUCCESS, in a way"))
    waits.absorb(["t"], foreign, 0.1, pushing=True)
    waits.absorb(["t"], records(record("t", "STARTED")), 0.2, pushing=True)
    assert waiter.last_error is None
    waiter.over = True
    waits.absorb(["t"], foreign, 1.0, pushing=True)

    with pytest.raises(
        WaitTimeoutError, match=r"1\.0 s: 't' \(the record of task 't' cannot be read"
    ):
        waiter.check()


def test_the_time_of_a_wait():
    """
    The deadline runs from the beginning; the owner calls `on_interval` each interval until then.
    """
    calls = []
    waiter = Recorder("a", timeout=5, interval=2, on_interval=lambda: calls.append(1))
    waiter.begin(100.0)

    assert (105.0, 2.0) == (waiter.deadline, waiter.tick(100.0))
    assert ([], 0.5) == (calls, waiter.tick(101.5))
    assert (2.0, [1]) == (waiter.tick(102.0), calls)
    assert (0.5, [1, 1]) == (waiter.tick(104.5), calls)


def test_without_a_timeout_nothing_is_to_be_done():
    """
    A wait without a timeout, and without `on_interval`, has no deadline to wake up for.
    """
    waiter = Recorder("a")
    waiter.begin(100.0)

    assert float("inf") == waiter.deadline == waiter.tick(100.0)


def test_a_stalled_look_names_the_trouble():
    """
    A last look without an answer is explained by the last error, by what is being repeated, or
    by itself.
    """
    last, trouble = BackendError("last"), BackendError("trouble")
    one, two, three = Recorder("a"), Recorder("a"), Recorder("a")
    one.failed(last)

    for waiter, reason in ((one, trouble), (two, trouble), (three, None)):
        waiter.stalled(reason)

    assert (last, trouble) == (one.last_error, two.last_error)
    assert BackendUnavailableError is type(three.last_error)


def test_a_record_that_comes_twice_is_delivered_once():
    """
    What is found again after its delivery is not delivered again.
    """
    waiter = Recorder("a")
    waiter.looked("a", record("a"))
    waiter.looked("a", record("a"))

    assert [("a", "SUCCESS")] == waiter.all()


# -- lost workers ---------------------------------------------------------------------------


def beating(beat, every=10, **fields):
    """
    Return a record with a sign of life.
    """
    return record("a", "STARTED", heartbeat={"every": every, "beat": beat}, **fields)


def lost_at(waits, *looks):
    """
    Return the times of those *looks*, pairs of a time and a record, at which a worker is lost.
    """
    found = []
    for now, meta in looks:
        waits.ring(["a"])
        if look(waits, now, meta)[1]:
            found.append(now)
    return found


def test_a_worker_is_lost_after_three_intervals(waits):
    """
    A heartbeat that stood still for three intervals since the first look is lost; not before.
    """
    joined(waits, Recorder("a"))

    found = lost_at(waits, *((now, beating(1)) for now in (100.0, 115.0, 129.999, 130.0)))

    assert [130.0] == found
    assert 3 == LOST_AFTER


def test_a_heartbeat_that_changes_is_not_lost(waits):
    """
    Each change starts the three intervals anew.
    """
    joined(waits, Recorder("a"))

    found = lost_at(
        waits, (0.0, beating(1)), (29.0, beating(2)), (58.0, beating(3)), (87.9, beating(3))
    )

    assert [] == found
    assert [88.0] == lost_at(waits, (88.0, beating(3)))


def test_the_look_that_finds_a_lost_worker_is_planned(waits):
    """
    Under push, without any ring, there is a look at the moment when the worker is lost.
    """
    joined(waits, Recorder("a"))
    look(waits, 0.0, beating(1, every=1))

    assert 3.0 == waits.next_look(0.0)


def test_what_does_not_ring_is_looked_at_in_each_interval(waits):
    """
    Where unready records do not ring, the last sign of life is seen an interval late at most.
    """
    joined(waits, Recorder("a"))
    waits.to_watch(10, 0.0)
    meta = beating(1, every=1)
    waits.absorb(waits.take_due(0.0), {"a": meta}, 0.0, pushing=True, unready=False)

    assert 1.0 == waits.next_look(0.0)


def test_a_slow_look_spares_a_worker_once(waits):
    """
    A look that took longer than an interval says little of the worker: he gets one interval more.
    """
    joined(waits, Recorder("a"))

    def slow(now):
        waits.ring(["a"])
        return waits.absorb(waits.take_due(now), {"a": beating(1)}, now, pushing=True, took=11.0)

    assert [] == lost_at(waits, (0.0, beating(1)))
    assert [] == slow(35.0)
    assert [] == lost_at(waits, (44.9, beating(1)))
    assert slow(45.0)


def test_the_observers_clock_counts(waits):
    """
    Dates in the record are not looked at: only the time since the observer's first look counts.
    """
    joined(waits, Recorder("a"))
    old = {"date_started": "2001-01-01T00:00:00+00:00"}

    assert [] == lost_at(waits, (0.0, beating(1, **old)), (29.0, beating(1, **old)))


def test_records_without_a_heartbeat_are_never_lost(waits):
    """
    Who gives no signs of life cannot stop.
    """
    joined(waits, Recorder("a"))

    assert [] == lost_at(waits, *((now, record("a", "STARTED")) for now in (0.0, 1e6)))


def test_a_heartbeat_that_ends_is_forgotten(waits):
    """
    A record without a heartbeat after one with it starts the count anew.
    """
    joined(waits, Recorder("a"))

    found = lost_at(
        waits, (0.0, beating(1)), (10.0, record("a", "RETRY")), (35.0, beating(1)), (60.0, beating(1))
    )  # fmt: skip

    assert [] == found


def test_a_ready_record_is_not_lost(waits):
    """
    A heartbeat left in a ready record means nothing.
    """
    joined(waits, Recorder("a"))
    ready = record("a", "SUCCESS", heartbeat={"every": 1, "beat": 1})

    assert [] == lost_at(waits, (0.0, beating(1)), (100.0, ready))


def test_a_store_that_is_away_does_not_lose_workers(waits):
    """
    While looks fail no worker can give signs of life: the count starts anew after that.
    """
    joined(waits, Recorder("a"))
    lost_at(waits, (0.0, beating(1)))
    waits.failed(waits.take_due(100.0), BackendError("away"), 100.0)

    assert [] == lost_at(waits, (101.0, beating(1)), (130.0, beating(1)))
    assert [131.0] == lost_at(waits, (131.0, beating(1)))


def test_a_lost_worker_stays_lost(waits):
    """
    Until its record changes a lost worker is found at each look.
    """
    joined(waits, Recorder("a"))

    found = lost_at(
        waits, (0.0, beating(1)), (30.0, beating(1)), (31.0, beating(1)), (32.0, beating(2))
    )

    assert [30.0, 31.0] == found


@pytest.mark.parametrize(
    "heartbeat",
    [
        {},
        {"every": 0},
        {"every": -1},
        {"every": "1"},
        {"every": None},
        {"every": 10**400},
        {"every": 1e300},
        {"every": [1]},
        [1],
        5,
        "x",
    ],
    ids=repr,
)
def test_damaged_heartbeats_mean_nothing(waits, heartbeat):
    """
    A heartbeat that cannot be is none, and does not end the hub.
    """
    joined(waits, Recorder("a"))
    odd = record("a", "STARTED", heartbeat=heartbeat)

    assert [] == lost_at(waits, (0.0, odd), (1e6, odd), (1e9, odd))


def test_heartbeats_that_cannot_be_compared_are_signs_of_life(waits):
    """
    A beat of a pickle that has no truth value does not end the hub.
    """
    joined(waits, Recorder("a"))
    document = {"status": "STARTED", "heartbeat": {"every": 1, "beat": Array()}, "task_id": "a"}

    looks = [
        (now, CODEC.written({**document, "heartbeat": {"every": 1, "beat": Array()}}))
        for now in (0.0, 10.0)
    ]
    assert [] == lost_at(waits, *looks)


# -- how much is held at once ---------------------------------------------------------------


def test_what_is_not_taken_stops_the_looks(waits):
    """
    Nothing more is read for a wait that holds much which its owner has not taken.
    """
    waits.most_held = 2
    waiter = joined(waits, Recorder("a", "b", "c", "d"))
    waits.take_due(0.0)
    waits.absorb(["a", "b"], records(record("a"), record("b")), 0.0, pushing=True)
    waits.absorb(["c", "d"], {}, 0.0, pushing=True)

    waits.ring(["c", "d"])
    assert [] == waits.take_due(1.0)
    assert not waits.idle
    assert waits.next_look(1.0) is None

    waiter.take()
    assert waits.may_resume(waiter)
    waits.resume(waiter)
    assert {"c", "d"} == set(waits.take_due(1.0))


def test_a_full_wait_does_not_keep_others_waiting(waits):
    """
    What another one waits for, too, is looked at; both hear of it.
    """
    waits.most_held = 2
    full = joined(waits, Recorder("a", "b", "c"))
    waits.take_due(0.0)
    waits.absorb(["a", "b"], records(record("a"), record("b")), 0.0, pushing=True)
    waits.absorb(["c"], {}, 0.0, pushing=True)
    other = joined(waits, Recorder("c"), 1.0)

    due, _ = look(waits, 1.0, record("c"))

    assert ["c"] == due
    assert ["c"] == [task_id for task_id, *_ in other.all()]
    assert {"a", "b", "c"} == {task_id for task_id, *_ in full.all()}


def test_what_is_taken_while_it_is_put_off_is_not_forgotten(waits):
    """
    An owner that takes what it got at the very moment when a look is put off still gets the rest.
    """
    waits.most_held = 2

    class Late(Recorder):
        @property
        def held(self):
            held = super().held
            self.all()
            return held

    joined(waits, Late("a", "b", "c"))
    waits.take_due(0.0)
    waits.absorb(["a", "b"], records(record("a"), record("b")), 0.0, pushing=True)
    waits.absorb(["c"], {}, 0.0, pushing=True)
    waits.ring(["c"])

    assert ["c"] == waits.take_due(1.0) + waits.take_due(1.0)


# -- the last look --------------------------------------------------------------------------


def test_a_single_look_lasts_as_long_as_looks_are_answered(waits):
    """
    A wait that looks once waits for its look as long as an operation may take, and goes on while
    looks at other tasks are answered. Looks that fail do not count.
    """
    waiter = joined(waits, Recorder("a", timeout=0))
    waits.look_again(waiter, 0.0)
    assert 1.0 + waits.patience(waiter, 1.0) == pytest.approx(2.0, abs=0.05)
    waits.absorb(["other"], {}, 5.0, pushing=True)
    waits.failed(["other"], BackendUnavailableError("away"), 6.0)

    assert 6.5 + waits.patience(waiter, 6.5) == pytest.approx(7.0, abs=0.05)
    waits.end_last_look(waiter, None)
    with pytest.raises(WaitTimeoutError, match="not answered"):
        waiter.check()


def test_a_last_look_that_nobody_answers_says_so(waits):
    """
    Where no look ended since the deadline, the timeout says that the store is silent.
    """
    waiter = joined(waits, Recorder("a", timeout=1.0))
    look(waits, 0.0)
    waits.look_again(waiter, 1.0)
    assert 0.0 < waits.patience(waiter, 1.0) <= 0.05
    assert waits.patience(waiter, 1.05) <= 0.0
    waits.end_last_look(waiter, None)

    with pytest.raises(WaitTimeoutError, match="not answered"):
        waiter.check()


def test_what_a_last_look_finds_is_delivered_as_it_comes(waits):
    """
    The owner gets what was found before all has been looked at, and the timeout after it all.
    """
    waiter = joined(waits, Recorder("a", "b", timeout=0))
    waits.look_again(waiter, 0.0)
    waits.take_due(0.0)
    waits.absorb(["a"], records(record("a")), 0.0, pushing=True)

    assert 0.0 == waits.patience(waiter, 0.0)
    waits.end_last_look(waiter, None)
    waiter.check()
    assert "a" == waiter.take().task_id
    waits.absorb(["b"], {}, 0.0, pushing=True)
    waits.end_last_look(waiter, None)
    with pytest.raises(WaitTimeoutError, match=r": 'b'$"):
        waiter.check()


# -- a crowd --------------------------------------------------------------------------------


@pytest.mark.parametrize("crowd", ["many waits", "one wait", "one wait for the same"])
@pytest.mark.parametrize("waited", [0.0, 1.0, 20.0])
def test_a_crowd_does_not_slow_others(waits, crowd, waited):
    """
    Where more is polled than can be read, another wait is looked at after one portion, no later,
    however long it has gone on: what 5000 others wait for has its turn in between.
    """
    ids = [str(number) for number in range(5000)]
    if crowd == "many waits":
        for number, id_ in enumerate(ids):
            waits.join(Recorder(id_), 100.0 + number / 2500)
    else:
        waits.join(Recorder(*ids, *(["other"] if crowd == "one wait for the same" else [])), 100.0)
    while waits.to_watch(1000, 102.0):
        pass
    now = 102.0
    for _ in range(20):
        now += 0.1
        waits.absorb(waits.take_due(now), {}, now, pushing=False)
    joined(waits, other := Recorder("other"), now := now + 10.0)

    seen = []
    while not seen or now < seen[0] + waited:
        due = waits.take_due(now)
        now += 0.1
        waits.absorb(due, {}, now, pushing=False)
        seen += [now] if "other" in due else []
    now = seen[-1] + 1.0  # its next look is due
    due = [waits.take_due(now), waits.take_due(now)]

    assert sum("other" in portion for portion in due) == 1
    assert {*map(len, due)} == {250}
    waits.absorb(due[0] + due[1], records(record("other")), now, pushing=False)
    assert other.woken == 1
