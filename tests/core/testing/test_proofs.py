"""
Proofs: their tests, their missing hooks, and forbidden overrides.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import uuid

import pytest

from coatcheck.testing import PROMISES, AioBackendContract, BackendContract, left_out, promises_of
from coatcheck.testing.contract.case import SyncCase
from coatcheck.testing.promises import promise, suite_of

SIDES = [BackendContract, AioBackendContract]
#: The modules with tests that only one side can have.
SYNC_ONLY = {"forks", "interrupted", "threads"}
AIO_ONLY = {"cancelled", "interrupted_loops", "loops"}


@pytest.mark.parametrize("side", SIDES)
def test_every_promise_is_held(side):
    """There are twelve promises, and at least one test for each of them."""
    held = promises_of(side)

    assert list(range(1, 13)) == sorted(PROMISES) == sorted(held)
    assert [] == [number for number, tests in held.items() if not tests]


@pytest.mark.parametrize("side", SIDES)
def test_every_test_holds_a_promise(side):
    """Each test holds a promise, and states it in a sentence."""
    tests = suite_of(side)

    assert [] == [name for name, test in tests.items() if not getattr(test, "promises", ())]
    assert [] == [name for name, test in tests.items() if not (test.__doc__ or "").strip()]


def test_sides_are_one():
    """Both sides run the same bodies, except where only threads or only tasks can."""
    bodies = [
        {name: inspect.unwrap(test) for name, test in suite_of(side).items()} for side in SIDES
    ]
    shared = [(bodies[0].get(name), test) for name, test in bodies[1].items()]
    apart = [
        {of_module(test) for name, test in own.items() if other.get(name) is not test}
        for own, other in (bodies, bodies[::-1])
    ]

    assert len([1 for ours, theirs in shared if ours is theirs]) > 100
    assert [SYNC_ONLY, AIO_ONLY] == apart


def of_module(test):
    """Return the name of the module that a test is in."""
    return test.__module__.rpartition(".")[2]


@pytest.mark.parametrize("side", SIDES)
def test_some_are_core(side):
    """The few tests that tell most are marked, for whoever runs these alone."""
    marked = {name for name, test in suite_of(side).items() if hasattr(test, "contract_core")}

    assert {"test_first_ready_wins", "test_race", "test_watch_is_a_barrier"} <= marked
    assert len(marked) < 30


@pytest.mark.parametrize("number", [0, 13])
def test_unknown_promise(number):
    """A test cannot hold a promise that was not made."""
    with pytest.raises(ValueError, match=f"{number}"):
        promise(number)


@pytest.mark.parametrize("name", ["test_round_trip", "results", "plant", "_proof"])
@pytest.mark.parametrize("side", SIDES)
def test_nothing_can_be_overridden(side, name):
    """A proof that replaces a test, a fixture or a helper is refused; also by way of a mixin."""
    mixin = type("Mixin", (), {name: lambda self: None})

    with pytest.raises(TypeError, match=f"Proof may not override {name}"):
        type("Proof", (side,), {name: None})
    with pytest.raises(TypeError, match=f"Mixin may not override {name}"):
        type("Proof", (mixin, side), {})


def test_hooks_can_be_given():
    """A proof gives hooks, and methods and tests of its own."""

    class Proof(BackendContract):
        def raw_get(self, key):
            return None

        def test_of_its_own(self):
            pass

    assert "test_of_its_own" in suite_of(Proof)


def test_what_is_left_out():
    """Tests that lack a hook are no part of the proof; who adds the hook has them again."""

    class Little(BackendContract):
        pass

    class More(Little):
        def raw_ttl(self, key):
            return None

    lacking = left_out(Little)

    assert ("raw_ttl",) == lacking["test_kept_in_the_store"]
    assert ("address", "through") == lacking["test_lost_reply"]
    assert not set(lacking) & set(suite_of(Little))
    assert "test_kept_in_the_store" in suite_of(More)
    assert {} == {name: hooks for name, hooks in left_out(More).items() if "raw_ttl" in hooks}


def test_children_need_no_pytest():
    """The contract's other processes import no tools for tests."""
    code = "import coatcheck.testing.child, sys; print({'pytest', 'hypothesis'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert "set()" == run.stdout.strip()


class TestReported(SyncCase):
    """The promises of a test in reports."""

    @pytest.fixture
    def url(self):
        return f"memory://{uuid.uuid4()}"

    @promise(4, 8)
    def test_promises_are_reported(self, request):
        """Reports name the promises that a test holds."""
        assert [("promise", 4), ("promise", 8)] == request.node.user_properties
