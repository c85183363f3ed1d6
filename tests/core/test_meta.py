"""
Records: what is written of a task, and what a snapshot shows of whatever is stored.
"""

import enum
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck._coding.codec import Codec
from coatcheck._record.documents import VERSION, checked_id, new_document, new_write_id
from coatcheck._record.fields import aware
from coatcheck._record.meta import ResultMeta
from coatcheck.errors import ArgumentError, DecodeError

CODEC = Codec()


def stored(**document):
    """
    Return the snapshot of *document* as a reader gets it.
    """
    return CODEC.decode("t", json.dumps(document).encode())


@pytest.mark.parametrize("task_id", ["t", "a b", "ü", "\x00", "x" * 10_000, "/../", "🧥"])
def test_any_text_can_be_an_id(task_id):
    """
    Any non-empty text is an id.
    """
    assert task_id == checked_id(task_id)


@pytest.mark.parametrize("task_id", ["", None, 5, b"t", "\udcff", ["t"]])
def test_other_things_cannot_be_an_id(task_id):
    """
    Nothing, other types, and text that UTF-8 cannot carry are refused.
    """
    with pytest.raises(ArgumentError, match="a task id cannot be"):
        checked_id(task_id)


def test_members_of_enums_are_ids_as_plain_text():
    """
    An id of a subclass of text becomes plain text, which every serializer keeps.
    """

    class Job(enum.StrEnum):
        NIGHTLY = "nightly"

    assert "nightly" == checked_id(Job.NIGHTLY)
    assert str is type(checked_id(Job.NIGHTLY))


def test_write_ids_differ():
    """
    No two writes have the same word.
    """
    assert 1000 == len({new_write_id() for _ in range(1000)})


def test_keys_stand_in_the_fields_order():
    """
    The document has the field's keys in the field's order, then ours.
    """
    fields = {
        "kwargs": {"a": 1},
        "queue": "q",
        "name": "n",
        "parent_id": "p",
        "group_id": "g",
        "args": [1],
        "worker": "w",
        "retries": 2,
        "children": [],
        "extra": {"labels": {}},
        "attempt": 3,
        "heartbeat": {"every": 1, "beat": 1},
        "date_started": datetime(2026, 1, 1, tzinfo=UTC),
        "traceparent": "00-1-2-01",
    }

    document = new_document(
        "t", "FAILURE", None, traceback="tb", failure={}, expires=60, fields=fields
    )

    assert (
        "status result traceback children date_done parent_id group_id name args kwargs worker "
        "retries queue task_id v write_id failure date_started heartbeat attempt extra expires_at "
        "traceparent"
    ).split() == list(document)


def test_what_is_not_known_is_left_out():
    """
    Of a bare record only the keys that Celery always writes, and our marks, are there.
    """
    document = new_document("t", "STARTED", None, fields={"name": None, "heartbeat": None})

    assert [
        "status",
        "result",
        "traceback",
        "children",
        "date_done",
        "task_id",
        "v",
        "write_id",
    ] == [*document]
    assert document["date_done"] is None
    assert VERSION == document["v"]


def test_only_ready_records_have_a_date_done():
    """
    A ready record says when, in UTC, and an unready one does not.
    """
    before = datetime.now(UTC)

    done = aware(new_document("t", "SUCCESS", 1)["date_done"])

    assert before <= done <= datetime.now(UTC)
    assert new_document("t", "PROGRESS", 1)["date_done"] is None


def test_expiry_is_written_as_a_date():
    """
    A record that expires says when; one that is kept, or outlives the calendar, does not.
    """
    before = datetime.now(UTC)

    document = new_document("t", "SUCCESS", 1, expires=60)

    assert before + timedelta(seconds=60) <= aware(document["expires_at"])
    assert "expires_at" not in new_document("t", "SUCCESS", 1)
    assert new_document("t", "SUCCESS", 1, expires=1e300)["expires_at"] is None


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2024-01-02T03:04:05.678901", datetime(2024, 1, 2, 3, 4, 5, 678901, UTC)),
        ("2024-01-02T03:04:05", datetime(2024, 1, 2, 3, 4, 5, 0, UTC)),
        ("2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, 0, UTC)),
        ("2024-01-02T03:04:05+09:00", datetime(2024, 1, 1, 18, 4, 5, 0, UTC)),
        (datetime(2024, 1, 2), datetime(2024, 1, 2, tzinfo=UTC)),
        (datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=1))), datetime(2024, 1, 1, 23, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (5, None),
        (None, None),
        ({}, None),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), None),
    ],
    ids=repr,
)  # fmt: skip
def test_dates_are_read_as_utc(value, moment):
    """
    Naive dates mean UTC, others are converted, and what is no date is none.
    """
    assert moment == aware(value)
    assert moment is None or UTC is aware(value).tzinfo


def test_a_snapshot_shows_the_record():
    """
    Each attribute shows its key.
    """
    meta = stored(
        status="SUCCESS",
        result=[1],
        traceback="tb",
        children=[[["c", None], None]],
        date_done="2026-01-01T00:00:00+00:00",
        parent_id="p",
        group_id="g",
        name="n",
        args=[1],
        kwargs={"a": 1},
        worker="w",
        retries=2,
        queue="q",
        date_started="2025-01-01T00:00:00+00:00",
        expires_at="2027-01-01T00:00:00+00:00",
        heartbeat={"every": 1},
        attempt=3,
        extra={"labels": {}},
        write_id="ab",
    )

    assert ("SUCCESS", "SUCCESS", True, True, False) == (
        meta.status, meta.state, meta.ready, meta.successful, meta.failed,
    )  # fmt: skip
    assert ([1], [1], [1]) == (meta.result, meta.info, meta.get())
    assert ("tb", [[["c", None], None]]) == (meta.traceback, meta.children)
    assert (2025, 2026, 2027) == (
        meta.date_started.year, meta.date_done.year, meta.expires_at.year,
    )  # fmt: skip
    assert ("p", "g", "n", "w", "q") == (
        meta.parent_id, meta.group_id, meta.name, meta.worker, meta.queue,
    )  # fmt: skip
    assert ([1], {"a": 1}, 2, 3) == (meta.args, meta.kwargs, meta.retries, meta.attempt)
    assert {"labels": {}} == meta.extra
    assert ({"every": 1}, "ab") == (meta.heartbeat, meta.write_id)
    assert (None, None, True) == (meta.error, meta.failure, meta.known)
    assert "<ResultMeta 't' SUCCESS>" == repr(meta)


def test_an_unknown_task_is_pending():
    """
    The snapshot of nothing is PENDING and says that nothing is known.
    """
    meta = CODEC.unknown("t")

    assert ("PENDING", False, False, None) == (meta.status, meta.known, meta.ready, meta.result)
    assert "<ResultMeta 't' PENDING unknown>" == repr(meta)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PROPERTIES = [name for name, value in vars(ResultMeta).items() if isinstance(value, property)]
KEYS = st.sampled_from(
    [
        *["status", "result", "failure", "v", "date_done", "date_started", "expires_at"],
        *["heartbeat", "children", "name", "traceback", "args", "kwargs", "retries", "write_id"],
    ]
)
STATUSES = st.sampled_from(["SUCCESS", "FAILURE", "RETRY", "REVOKED", "STARTED", "custom"])


@given(st.dictionaries(KEYS, PLAIN), STATUSES | PLAIN)
def test_attributes_never_raise_for_what_is_stored(document, status):
    """
    Whatever the values of a record are, only those of `result`, `args` and `kwargs` raise, and
    only a DecodeError.
    """
    meta = stored(**{**document, "status": status})

    for name in PROPERTIES:
        try:
            getattr(meta, name)
        except DecodeError:
            assert name in ("result", "info", "args", "kwargs")
    assert isinstance(meta.status, str)
    assert isinstance(meta.error, DecodeError | None)
    assert isinstance(repr(meta), str)


@pytest.mark.parametrize("status", [None, 5, [], {}, ["SUCCESS"]])
def test_a_status_that_is_no_text_is_pending_and_an_error(status):
    """
    A record whose state cannot be read is not ready, and its value says why.
    """
    meta = stored(status=status, result=1)

    assert ("PENDING", False) == (meta.status, meta.ready)
    with pytest.raises(DecodeError, match="'t' cannot be read: it has no status"):
        _ = meta.result


def test_a_newer_record_shows_its_state_and_dates():
    """
    Of a record with a higher version only the value is refused.
    """
    meta = stored(status="SUCCESS", result=1, date_done="2026-01-01T00:00:00+00:00", v=2)

    assert ("SUCCESS", True, 2026) == (meta.status, meta.ready, meta.date_done.year)
    for read in (lambda: meta.result, meta.get):
        with pytest.raises(DecodeError, match="has version 2, this coatcheck reads up to 1"):
            read()
    assert isinstance(meta.error, DecodeError)


def test_a_newer_failure_has_no_failure():
    """
    A failure that a newer version wrote is not interpreted.
    """
    meta = stored(status="FAILURE", result={"exc_type": "X"}, v=2)

    assert meta.failure is None
    with pytest.raises(DecodeError):
        meta.get()


def test_damaged_values_do_not_hide_the_others():
    """
    A damaged tag in one value leaves state, dates and the other values readable.
    """
    bad = {"__type__": "datetime", "__value__": "nope"}
    meta = stored(status="SUCCESS", result=bad, args=[1], kwargs={"a": bad})

    assert ("SUCCESS", [1]) == (meta.status, meta.args)
    with pytest.raises(DecodeError, match="damaged result: ValueError"):
        _ = meta.result
    with pytest.raises(DecodeError, match="damaged kwargs"):
        _ = meta.kwargs
    assert {"status": "SUCCESS", "result": bad, "args": [1], "kwargs": {"a": bad}} == meta.values()


def test_values_are_the_whole_record():
    """
    All keys are returned with their values, unknown ones too.
    """
    tagged = stored(status="SUCCESS", result={"__type__": "bytes", "__value__": "x"}, color="red")

    assert {"status": "SUCCESS", "result": b"x", "color": "red"} == tagged.values()
    assert {"status": "SUCCESS", "color": "red"} == stored(status="SUCCESS", color="red").values()


def test_the_value_is_read_once():
    """
    The value is the same object every time.
    """
    meta = stored(status="SUCCESS", result={"__type__": "bytes", "__value__": "x"})

    assert meta.result is meta.result


def test_a_failure_is_returned_and_raised():
    """
    The result of a failed task is the exception, and `get` raises a new one each time.
    """
    meta = stored(
        status="FAILURE",
        result={"exc_type": "ValueError", "exc_message": ["x"], "exc_module": "builtins"},
    )

    assert "ValueError('x')" == repr(meta.result)
    raised = []
    for _ in range(2):
        with pytest.raises(ValueError, match="x") as info:
            meta.get()
        raised.append(info.value)
    assert raised[0] is not raised[1]


def test_a_retry_gives_its_reason_without_raising():
    """
    A retry's info is the exception that is its reason, or nothing.
    """
    meta = stored(
        status="RETRY",
        result={"exc_type": "KeyError", "exc_message": ["x"], "exc_module": "builtins"},
    )

    assert KeyError is type(meta.get())
    assert "builtins.KeyError" == meta.failure.type_name
    assert stored(status="RETRY", result=None).result is None
    assert stored(status="RETRY", result=None).failure is None


def test_nothing_is_shared_between_reads_of_a_refused_value():
    """
    The error of a refused value does not grow a traceback by being raised again.
    """
    meta = stored(status="SUCCESS", result=1, v=2)

    depths = []
    for _ in range(3):
        with pytest.raises(DecodeError) as info:
            _ = meta.result
        depths.append(len(info.traceback))

    assert 1 == len(set(depths))
