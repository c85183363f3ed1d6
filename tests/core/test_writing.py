"""
What is written: records made of states, values and exceptions, and what stands in for them.
"""

import enum
import json
import math
import pickle
import threading
from datetime import timedelta

import pytest

from coatcheck import ANY, states
from coatcheck._coding.codec import Codec
from coatcheck._record.failures import Failure
from coatcheck._results.writing import Writer, checked_states
from coatcheck._settings.durations import checked_expires, checked_timeout
from coatcheck._settings.options import DEFAULT, OPTIONS
from coatcheck.errors import ArgumentError, EncodeError, ResultTooLargeError, WorkerLostError


def writer(serializer="json", **options):
    """
    Return a writer with the defaults.
    """
    given = {
        "expires": OPTIONS["expires"].default,
        "protect": states.READY_STATES,
        "read_only": False,
    }
    return Writer(Codec(serializer), **{**given, **options})


def stored(meta, reader=None):
    """
    Return *meta* as a reader gets it.
    """
    reader = reader or Codec()
    return reader.decode(meta.task_id, Codec().encode(meta.document))


@pytest.mark.parametrize(
    ("value", "number"), [(1, 1.0), (0.001, 0.001), (timedelta(days=1), 86400.0), (None, None)]
)
def test_expiry_in_seconds(value, number):
    """
    Seconds and timedeltas are seconds, and nothing is nothing.
    """
    assert number == checked_expires(value)


@pytest.mark.parametrize(
    "value", [0, -1, 0.0, timedelta(0), math.inf, math.nan, True, "60", 10**400, [], object()]
)
def test_expiry_that_cannot_be(value):
    """
    Zero, less, what is not finite and what is no number is refused.
    """
    with pytest.raises(ArgumentError, match=r"expires cannot be .* use seconds above 0"):
        checked_expires(value)


@pytest.mark.parametrize(
    ("value", "number"), [(None, None), (0, 0.0), (0.5, 0.5), (3, 3.0), (math.inf, None), (10**400, None)]
)  # fmt: skip
def test_timeouts_in_seconds(value, number):
    """
    Any number from 0 on is a timeout, and one without end is none.
    """
    assert number == checked_timeout(value)


@pytest.mark.parametrize("value", [-1, -0.001, math.nan, -math.inf, "1", True, [], -(10**400)])
def test_timeouts_that_cannot_be(value):
    """
    What is below 0 or no number is refused.
    """
    with pytest.raises(ArgumentError, match=r"a timeout cannot be .* use seconds from 0 on"):
        checked_timeout(value)


def test_protected_states():
    """
    A list of states, or one; those that are only read may be named too.
    """
    assert {"SUCCESS"} == checked_states("SUCCESS")
    assert {"SUCCESS", "REJECTED", "OWN"} == checked_states(["SUCCESS", "REJECTED", "OWN"])
    with pytest.raises(ArgumentError, match="a state cannot be"):
        checked_states(["success"])


def test_lifetimes():
    """
    The default is what the writer was made with; else what is given.
    """
    assert 86400.0 == writer().lifetime(DEFAULT)
    assert 5.0 == writer().lifetime(5)
    assert writer().lifetime(None) is None
    assert writer(expires=None).lifetime(DEFAULT) is None
    assert "DEFAULT" == repr(DEFAULT)


def test_a_value_is_a_record():
    """
    A value is stored as it is, with the fields given.
    """
    meta = writer().record("t", "SUCCESS", [1], expires=60, fields={"name": "n"})

    assert ("SUCCESS", [1], "n", None) == (meta.status, meta.result, meta.name, meta.failure)
    assert meta.expires_at is not None
    assert "t" == meta.document["task_id"]


@pytest.mark.parametrize("state", ["FAILURE", "RETRY", "REVOKED"])
def test_an_exception_is_a_failure(state):
    """
    In the states of failures the exception is stored as data, and as Celery stores it.
    """
    meta = stored(writer().record("t", state, ValueError("x")))

    assert {
        "exc_type": "ValueError",
        "exc_message": ["x"],
        "exc_module": "builtins",
    } == meta.document["result"]
    assert "ValueError: x" == meta.failure.summary
    assert ValueError is type(meta.result)


def test_an_exception_as_a_value_of_another_state():
    """
    In other states an exception is a value, which no serializer but pickle keeps.
    """
    meta = writer().record("t", "SUCCESS", ValueError("x"))

    with pytest.raises(EncodeError, match="no tag for the type ValueError"):
        Codec().encode(meta.document)


def test_a_retry_needs_no_reason():
    """
    A retry without an exception has no result and no failure.
    """
    meta = stored(writer().record("t", "RETRY"))

    assert (None, None) == (meta.result, meta.failure)


@pytest.mark.parametrize(
    ("reason", "message"), [("by hand", "by hand"), (None, "revoked"), ("", "revoked")]
)
def test_a_task_is_revoked_for_a_reason(reason, message):
    """
    A revoked task has the failure that Celery stores, with the reason as its message.
    """
    meta = stored(writer().record("t", "REVOKED", reason))

    assert {
        "exc_type": "TaskRevokedError", "exc_message": [message], "exc_module": "celery.exceptions"
    } == meta.document["result"]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "reason"), [("FAILURE", "x"), ("FAILURE", None), ("RETRY", 5), ("REVOKED", 5)]
)
def test_a_failure_needs_an_exception(state, reason):
    """
    What is no exception cannot be the result of a failure.
    """
    with pytest.raises(
        ArgumentError, match=f"the result of {state} cannot be .*: give the exception"
    ):
        writer().record("t", state, reason)


@pytest.mark.parametrize(
    ("task_id", "state"), [("", "SUCCESS"), ("t", "success"), ("t", "REJECTED")]
)
def test_ids_and_states_are_checked(task_id, state):
    """
    A record has an id and a state that can be.
    """
    with pytest.raises(ArgumentError):
        writer().record(task_id, state)


def test_ids_and_states_of_enums_are_stored():
    """
    Members of an application's enums are stored as their text.
    """

    class Word(enum.StrEnum):
        JOB = "JOB"

    document = json.loads(Codec().encode(writer().record(Word.JOB, Word.JOB).document))

    assert ("JOB", "JOB") == (document["task_id"], document["status"])


class Unhandy(Exception):
    def __len__(self):
        raise RuntimeError("no length")

    def __eq__(self, other):
        raise RuntimeError("no comparison")

    __hash__ = None


def raised(error, cause=None):
    """
    Return *error* after it was raised.
    """
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_tracebacks():
    """
    A traceback is made of an exception that has one, unless another is given.
    """
    record = writer().record

    assert "Traceback" in record("t", "FAILURE", raised(ValueError())).traceback
    assert "given" == record("t", "FAILURE", raised(ValueError()), traceback="given").traceback
    assert record("t", "FAILURE", ValueError()).traceback is None
    caused = ValueError()
    caused.__cause__ = Unhandy()
    assert "ValueError" in record("t", "FAILURE", caused).traceback
    assert "| ValueError" in record("t", "FAILURE", ExceptionGroup("g", [ValueError()])).traceback
    assert record("t", "REVOKED", "x").traceback is None


def test_a_value_that_cannot_be_kept_becomes_a_failure():
    """
    What stands in for such a value is a small failure that names the path.
    """
    draft = writer().draft(
        "t", {"a": threading.Lock()}, "SUCCESS", expires=60, fields={"name": "n"}
    )
    with pytest.raises(EncodeError) as info:
        Codec().encode(draft.meta.document)

    substitute, raises = writer().substitute(draft, info.value)

    instead = stored(substitute.meta)
    assert raises
    assert (draft.unless, 60.0) == (substitute.unless, substitute.seconds)
    assert ("FAILURE", "coatcheck.errors.EncodeError") == (
        instead.status,
        instead.failure.type_name,
    )
    assert "result['a']" in instead.failure.message
    assert isinstance(instead.result, TypeError)
    assert instead.expires_at is not None


def test_a_value_that_is_too_large_becomes_a_failure():
    """
    What stands in for such a value names size and limit.
    """
    draft = writer().draft("t", "x" * 1000, "SUCCESS")

    substitute, raises = writer().substitute(draft, ResultTooLargeError("t", size=9, limit=5))

    instead = stored(substitute.meta)
    assert raises
    assert "9 bytes, the store's limit is 5" in instead.failure.message
    assert isinstance(instead.result, ValueError)


@pytest.mark.parametrize("state", ["FAILURE", "REVOKED"])
def test_a_failure_that_is_too_large_is_shortened(state):
    """
    A failure over the store's limit keeps its type and the start of its message.
    """
    draft = writer().draft("t", raised(OSError("x" * 50_000)), state)

    substitute, raises = writer().substitute(draft, ResultTooLargeError("t", size=9, limit=5))

    instead = stored(substitute.meta)
    assert not raises
    assert (state, "builtins.OSError") == (instead.status, instead.failure.type_name)
    assert instead.failure.message.startswith("xxx")
    assert len(instead.failure.message) < 1000
    assert "the failure was shortened" in instead.failure.notes[0]
    assert isinstance(instead.result, OSError)
    assert len(Codec().encode(instead.document)) < 4000


def test_nothing_takes_the_place_of_an_unready_record():
    """
    A value that cannot be stored while the task runs leaves no failure: the task goes on.
    """
    draft = writer().draft("t", threading.Lock(), "PROGRESS")

    assert (None, True) == writer().substitute(draft, EncodeError("t", "result", "why"))


def test_a_draft_has_the_defaults():
    """
    What the call does not say is what the writer was made with.
    """
    given = writer(expires=60, protect=["SUCCESS"])

    assert (60.0, {"SUCCESS"}) == (given.draft("t", 1, "STARTED").seconds, given.protect)
    assert {"SUCCESS"} == given.draft("t", 1, "STARTED").unless
    draft = given.draft("t", 1, "STARTED", expires=None, protect="FAILURE")
    assert (None, {"FAILURE"}) == (draft.seconds, draft.unless)
    assert ANY is given.draft("t", 1, "STARTED", protect=ANY).unless


def test_a_lost_worker_is_a_failure_over_the_record():
    """
    The record of a lost worker keeps what was known, and says what happened.
    """
    fields = {
        "name": "n", "worker": "w1", "args": [(1, 2)], "children": [[["c", None], None]],
        "heartbeat": {"every": 10, "beat": 3}, "attempt": 2,
    }  # fmt: skip
    observed = stored(writer().record("t", "PROGRESS", {1}, expires=60, fields=fields))
    foreign = Codec().decode("t", Codec().encode({**observed.document, "color": "red"}))

    lost = writer(expires=None).lost(foreign)

    meta = stored(lost)
    assert isinstance(meta.result, WorkerLostError)
    assert "worker w1 gave no sign of life for 3 intervals of 10 s" in str(meta.result)
    assert ("n", "w1", 2, [[["c", None], None]]) == (
        meta.name, meta.worker, meta.attempt, meta.children,
    )  # fmt: skip
    assert "red" == meta.document["color"]
    assert (None, None) == (meta.heartbeat, meta.expires_at)
    assert "status" == next(iter(lost.document))
    assert observed.write_id != meta.write_id


def test_a_lost_worker_whose_record_another_serializer_wrote():
    """
    What our serializer cannot keep of the record is kept as its repr, and does not stand in the
    way of the failure.
    """
    document = {
        "status": "STARTED", "task_id": "t", "heartbeat": {"every": 1}, "kwargs": {"a": object},
        "args": [1], 5: "no text",
    }  # fmt: skip
    observed = Codec(accept=["pickle"]).decode("t", pickle.dumps(document))

    meta = stored(writer().lost(observed))

    assert isinstance(meta.result, WorkerLostError)
    assert ("{'a': <class 'object'>}", [1]) == (meta.kwargs, meta.args)
    assert 5 not in meta.document


def test_a_lost_worker_without_a_name():
    """
    A worker that did not say its name is unknown.
    """
    observed = stored(writer().record("t", "STARTED"))

    assert "worker unknown gave no sign" in str(writer().lost(observed).failure.message)
    assert writer().lost(observed).expires_at is not None


def test_a_failure_may_be_given_as_data():
    """
    What is data already is stored as it is.
    """
    failure = Failure("app", "Gone", message="m", args=("m",))

    assert "app.Gone: m" == stored(writer().record("t", "FAILURE", failure)).failure.summary
