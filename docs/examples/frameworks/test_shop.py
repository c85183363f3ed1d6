"""
The tests of an application that uses coatcheck.
"""

import threading

import pytest

import coatcheck
from coatcheck.testing.doubles import Failing


def total(results: coatcheck.Results, ids: list[str]) -> int:
    """
    Add up the results of some tasks. This is the code under test.
    """
    return sum(meta.get() for meta in results.as_completed(ids, timeout=1))


@pytest.fixture
def results(request: pytest.FixtureRequest) -> coatcheck.Results:
    """
    Return the results of an empty store in memory, one for each test.
    """
    return coatcheck.by_url(f"memory://{request.node.name}")


def test_values(results):
    """Store values as a worker would, without one."""
    results.store_many({"t1": 1, "t2": 2})

    assert total(results, ["t1", "t2"]) == 3


def test_a_late_result(results):
    """Store a value while the code under test waits for it."""
    threading.Timer(0.05, results.store_result, ["t1", 5]).start()

    assert total(results, ["t1"]) == 5


def test_a_failure(results):
    """Store a failure. The reader raises it."""
    results.mark_as_failure("t1", ZeroDivisionError("division by zero"))

    with pytest.raises(ZeroDivisionError):
        total(results, ["t1"])


def test_a_lost_worker(results):
    """Begin a task and give no sign of life: the wait ends by itself."""
    results.update_state("t1", "STARTED", heartbeat={"every": 0.05, "beat": 1, "run": "gone"})

    with pytest.raises(coatcheck.WorkerLostError):
        total(results, ["t1"])


def test_a_store_that_is_down():
    """Let each read fail: the wait ends at its deadline and says why."""
    results = coatcheck.Results(Failing())

    with pytest.raises(coatcheck.WaitTimeoutError) as raised:
        total(results, ["t1"])
    assert isinstance(raised.value.__cause__, coatcheck.BackendUnavailableError)
