"""
Operations that are repeated within their time.
"""

from __future__ import annotations

import asyncio

import pytest

from coatcheck.errors import BackendStoreError, BackendUnavailableError
from coatcheck.plugin import Repeats

SECONDS = 0.2


class Driver(Exception):
    """The error of a driver."""


def mapped(error, *, writing):
    """Return ours for what the driver raised."""
    kind = BackendUnavailableError if isinstance(error, OSError) else BackendStoreError
    return kind(f"{error}, {writing=}")


@pytest.fixture
def repeats():
    """Repeats what raises an `OSError`."""
    return Repeats(
        SECONDS,
        errors=(Driver, OSError),
        is_transient=lambda error: isinstance(error, OSError),
        mapped=mapped,
    )


@pytest.fixture(params=["threads", "asyncio"])
def run(request, repeats):
    """Run a function by one side or the other."""

    def run_in_a_loop(act, *, writing=True, part=1.0):
        async def aact(attempts):
            return act(attempts)

        return asyncio.run(repeats.arun(aact, writing=writing, part=part))

    def run_at_once(act, *, writing=True, part=1.0):
        return repeats.run(act, writing=writing, part=part)

    return run_at_once if request.param == "threads" else run_in_a_loop


def test_what_fails_for_the_moment_is_repeated(run, repeats):
    """`trouble` is the error meanwhile, and nothing afterwards."""
    troubles = []

    def act(_):
        troubles.append(repeats.trouble)
        if len(troubles) < 3:
            raise OSError(f"error {len(troubles)}")
        return "done"

    assert run(act) == "done"
    assert [str(trouble) for trouble in troubles] == [
        "None",
        "error 1, writing=True",
        "error 2, writing=True",
    ]
    assert repeats.trouble is None


def test_what_will_not_pass_is_raised_at_once(run, repeats):
    """The error of the driver becomes ours, with its cause."""
    tries = []

    def act(_):
        tries.append(1)
        raise Driver("no")

    with pytest.raises(BackendStoreError, match=r"no, writing=False") as caught:
        run(act, writing=False)
    assert isinstance(caught.value.__cause__, Driver)
    assert len(tries) == 1
    assert repeats.trouble is None


def test_it_ends(run):
    """The first try has less than half of the time, and none has more than there is."""
    left = []

    def act(attempts):
        left.append(attempts.left)
        raise OSError("away")

    with pytest.raises(BackendUnavailableError, match="away"):
        run(act)
    assert left[0] <= SECONDS * 0.45
    assert max(left) <= SECONDS


def test_other_errors_pass(run):
    """What is not the driver's is not repeated."""
    tries = []

    def act(_):
        tries.append(1)
        raise LookupError("ours")

    with pytest.raises(LookupError):
        run(act)
    assert len(tries) == 1


def test_interruptions_pass(run):
    """Not even as the cause of an error of the driver are they repeated."""
    tries = []

    def act(_):
        tries.append(1)
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise OSError("broken off") from error

    with pytest.raises(KeyboardInterrupt):
        run(act)
    assert len(tries) == 1


def test_a_cause_that_is_known_stays():
    """A plugin may know better what the cause is than the class of error that it raises within."""
    cause = ValueError("inner")

    def with_cause(error, *, writing):
        ours = mapped(error, writing=writing)
        ours.__cause__ = cause
        return ours

    repeats = Repeats(SECONDS, errors=(Driver,), is_transient=lambda _: False, mapped=with_cause)

    def act(_):
        raise Driver("outer")

    with pytest.raises(BackendStoreError) as caught:
        repeats.run(act, writing=True)
    assert caught.value.__cause__ is cause


def test_a_part_of_the_time(run):
    """All tries together take only the part that is given."""
    lefts = []

    def act(attempts):
        lefts.append(attempts.left)

    run(act)
    run(act, part=0.25)

    assert lefts[1] < 0.25 * SECONDS < lefts[0]
