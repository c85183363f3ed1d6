"""
`coatcheck certify`, on stores that need no server.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import CommandLine

import coatcheck
from coatcheck.testing import PROMISES

BROKEN = Path(__file__).parent / "testing"
#: Seconds for the most telling tests, on a busy machine.
PATIENCE = 500


@pytest.fixture
def certify(tmp_path):
    """Return the status and the output of the command."""

    def certify(*arguments, **environment):
        command = [sys.executable, "-m", "coatcheck", "certify", *arguments]
        env = CommandLine(tmp_path).environment(**environment)
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=PATIENCE, env=env
        )
        assert "Traceback" not in done.stderr
        return done

    return certify


@pytest.fixture
def installed(tmp_path):
    """Install the broken backends: return the path of a distribution with an entry point."""
    info = tmp_path / "broken-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text("[coatcheck.backends]\nlost = broken:LostRing\n")
    return os.pathsep.join([str(tmp_path), str(BROKEN)])


def test_a_sound_store(certify):
    """The report has the versions, every promise with its tests, the latencies, and what was left out."""
    done = certify("memory://", "--quick", "--json")
    report = json.loads(done.stdout)

    assert 0 == done.returncode, done.stdout
    assert report["sound"]
    assert "memory://" == report["url"]
    assert coatcheck.__version__ == report["versions"]["coatcheck"]
    assert ["PUSH", "TTL", "SCAN", "EVENTS"] == report["capabilities"]
    assert list(PROMISES) == [each["number"] for each in report["promises"]]
    assert "kept" == report["promises"][0]["outcome"]
    races = [test for test in report["tests"] if test["name"] == "test_race"]
    assert {("sync", "kept"), ("asyncio", "kept")} == {(t["side"], t["outcome"]) for t in races}
    assert {"store", "fetch", "wake-up"} == set(report["latencies"])
    assert all(0 < times["p50"] <= times["p99"] for times in report["latencies"].values())
    assert any(test["reason"] == "no proxy can stand before the store" for test in report["tests"])
    assert " tests\n" in done.stderr


def test_others_records_stay(certify, tmp_path):
    """Others' records are as before, no other is there, and the page of HTML has all tests."""
    with coatcheck.by_url(f"sqlite:///{tmp_path}/s.db") as results:
        results.store_many({"t": "ours", "a": 2})
        page = tmp_path / "page.html"
        done = certify(f"sqlite:///{tmp_path}/s.db", "--quick", "--report", str(page))

        assert 0 == done.returncode, done.stdout
        assert {"t": "ours", "a": 2} == {meta.task_id: meta.result for meta in results.scan()}
        assert {"celery-task-meta-t", "celery-task-meta-a"} == set(results.backend.backend.scan(""))
    assert f"SQLite {sqlite3.sqlite_version}\n" in done.stdout
    assert "The tests left no records behind." in done.stdout
    assert "Sound: the backend kept its promises" in done.stdout
    html = page.read_text()
    assert "<td>test_race</td>" in html
    assert html.count("<details>") == len(PROMISES)


def test_a_broken_promise_is_named(certify, installed, tmp_path):
    """A backend that never rings for some writes: the promise, the expectation and the operations."""
    page = tmp_path / "report.html"
    patient = {"COATCHECK_TESTING_PATIENCE": "2", "PYTHONPATH": installed}
    done = certify("lost://", "--quick", "--report", str(page), **patient)
    broken = done.stdout.partition("Broken: test_rings, sync side\n")[2]

    assert 1 == done.returncode
    assert "broken 1.5" in done.stdout
    assert "broken    2  A wait cannot be missed" in done.stdout
    assert "kept      1  The first ready record wins" in done.stdout
    assert broken.startswith("  promise 2: A wait cannot be missed, and leaves nothing behind.\n")
    assert "expected: Each client's writes ring" in broken
    assert "MainThread: put('certify-" in broken
    assert done.stdout.splitlines()[-1].startswith("Broken: promise 2")
    assert "<h3>test_rings, sync side</h3>" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((f"sqlite:///{os.devnull}/no.db",), "coatcheck: "),
        (("nothing://",), "nothing"),
        (("memory://", "--report", "report.pdf"), ".html, .json, .txt"),
        (("disabled://",), "nothing was stored"),
    ],
)
def test_what_cannot_be_certified(certify, arguments, said):
    """A store that is away, an unknown one and a wrong suffix: one line, and the status 2."""
    done = certify(*arguments)

    assert (2, "") == (done.returncode, done.stdout)
    assert said in done.stderr
    assert 1 == done.stderr.count("\n")
