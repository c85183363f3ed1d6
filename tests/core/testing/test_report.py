"""
How the contract's failures tell: as the author of a broken backend sees them, in a run of pytest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BACKENDS = Path(__file__).parent / "told.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the output of pytest for the proofs of a backend, with its exit status."""
    directory = tmp_path_factory.mktemp("told")
    (directory / "test_told.py").write_bytes(BACKENDS.read_bytes())
    (directory / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
    )

    def run(backend, tests="test_", *options, patience=1):
        told = {"TOLD": backend, "COATCHECK_TESTING_PATIENCE": str(patience)}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-qk", tests, "-p", "no:cacheprovider", *options],
            cwd=directory, env={**os.environ, **told}, check=False, capture_output=True, text=True,
            timeout=300,
        )  # fmt: skip
        return done.returncode, done.stdout

    return run


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("ReturnsNone", "get_many() returned None, and has to return a value of type dict"),
        ("Unstated", "state PROTOCOL_VERSION = 1 in the body of the class Unstated"),
        ("Borrowed", "Borrowed takes PROTOCOL_VERSION from elsewhere"),
        ("LacksPut", "LacksPut"),
        (
            "TakesNoKeywords",
            "put(..., ..., unless=..., if_match=..., expires=...) cannot be called",
        ),
        ("Coroutines", "get_many() is a coroutine function"),
        ("OneForAll", "put_many() returned True, and has to return a value of type list"),
        ("NoBell", "watch() gives None"),
        ("Capable", "capabilities is 'all', and has to be a Capability"),
        ("HangsInClose", "close() does not return"),
    ],
)
def test_a_wrong_shape_is_told_once(run, backend, said):
    """A mistake that every test would run into is one failure a side, and the first one."""
    status, output = run(backend)

    assert 1 == status
    assert said in output
    assert "2 failed" in output
    assert " passed" not in output
    assert output.startswith("Fs")


def test_a_failure_names_promise_and_operations(run):
    """A failure names the promise, the expectation, and the calls of the backend."""
    status, output = run("Deletes", "leave_what")

    assert 1 == status
    assert "7: Reads never delete and never write." in output
    assert "Reads delete no expired records" in output
    assert "MainThread: get_many(['celery-task-meta-t0', " in output
    assert "coatcheck: broken promises" in output


def test_what_was_left_out_is_listed(run):
    """The end of a run lists the tests that a proof has no hooks for."""
    status, output = run("Sound", "test_expect")

    assert 0 == status
    assert "tests left out, for want of hooks in the proof" in output
    assert "without cut: test_rings_after_a_cut" in output


def test_a_hang_ends_with_the_stacks(run):
    """A backend that hangs when it is closed ends its test, and the run."""
    status, output = run("HangsLater", "test_batch_expires")

    assert 1 == status
    assert "closes its clients, did not end within 1 s" in output
    assert "in close\n" in output


def test_the_childs_traceback_is_shown(run):
    """A forked child's error fails its parent's test."""
    status, output = run("NotInAChild", "test_fork")

    assert 1 == status
    assert re.search(r"the forked child ended with \d+: Traceback", output)
    assert "RuntimeError: not in this process" in output


def test_a_thread_of_the_authors(run):
    """A thread of a backend fails no test, with any name; threads without end do."""
    assert 0 == run("Pumps", "test_no_object", patience=30)[0]
    status, output = run("Spawns", "test_no_object", patience=5)

    assert 1 == status
    assert "threads more than before: ['coatcheck-spawned'" in output


def test_workers_of_xdist_pass_it_on(run):
    """Where tests run in other processes the end is the same, with the plugin loaded."""
    options = ("-n", "1", "-p", "coatcheck.testing.report")
    status, output = run("Sound", "test_expect", *options)

    assert 0 == status
    assert "without cut: test_rings_after_a_cut" in output
