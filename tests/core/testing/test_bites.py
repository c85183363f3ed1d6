"""
The contract bites: a backend that is broken in one way fails the test that is there for it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

HERE = Path(__file__).parent
BROKEN = HERE / "broken.py"
SIDES = ["", "Aio"]


def load():
    spec = importlib.util.spec_from_file_location("broken", BROKEN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NOTICED = load().NOTICED
#: They need a store that can be away, which the whole one is not.
NEED_AWAY = {"UnmappedErrors", "TellsSecrets"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Run each broken backend's test, and all of these of the whole one, in a process each."""
    broken = [f"Test{name}{side}::{test}" for name, test in NOTICED.items() for side in SIDES]
    tests = {test for name, test in NOTICED.items() if name not in NEED_AWAY}
    whole = [f"TestWhole{side}::{test}" for test in sorted(tests) for side in SIDES]
    directory = tmp_path_factory.mktemp("bites")
    # What hangs, as some are known to, is not waited for as long.
    runs = [
        start(directory / "broken.xml", broken, patience=1),
        start(directory / "whole.xml", whole),
    ]
    found = {}
    for report, process in runs:
        output, _ = process.communicate(timeout=600)
        assert process.returncode in (0, 1), output
        found |= outcomes_in(report)
    return found


def start(report: Path, ids: list[str], *, patience: float = 30) -> tuple[Path, subprocess.Popen]:
    """Start pytest on some tests of the broken backends."""
    root = HERE.parents[2]
    # Broken backends leave things behind, as they are to.
    lenient = ["ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(f"--rootdir={root}", f"-c{root / 'pyproject.toml'}", f"--junitxml={report}"),
            *(f"-W{warning}" for warning in lenient),
            *(f"{BROKEN}::{id_}" for id_ in ids),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COATCHECK_TESTING_PATIENCE": str(patience)},
    )
    return report, process


def outcomes_in(report: Path) -> dict[str, str]:
    """Return for each test whether it failed, or passed, or could not even start."""
    found = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname').rpartition('.')[2]}::{case.get('name')}"
        kinds = [kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None]
        found[name] = kinds[0] if kinds else "passed"
    return found


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", NOTICED)
def test_broken_backend_is_noticed(outcomes, name, side):
    """The test that is named fails on the backend that is broken, and is not merely in error."""
    assert "failure" == outcomes[f"Test{name}{side}::{NOTICED[name]}"]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", sorted(set(NOTICED) - NEED_AWAY))
def test_whole_backend_passes(outcomes, name, side):
    """The same test passes on the backend that is not broken."""
    assert "passed" == outcomes[f"TestWhole{side}::{NOTICED[name]}"]
