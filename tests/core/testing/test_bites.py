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
SIDES = ["", "Aio"]
#: The modules with broken backends, and where the sound one is that they derive from.
SOUND = {
    "broken": ("broken", "Whole"),
    "broken_stores": ("broken", "Whole"),
    "broken_bells": ("broken_bells", "Wired"),
    "broken_logs": ("broken", "Whole"),
    "broken_manners": ("broken", "Whole"),
}


def load(name):
    """Import a module that is not on the path."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULES = {name: load(name) for name in SOUND}


def expectations():
    """Yield module, backend, side and test for every mistake that has to be noticed."""
    for name, module in MODULES.items():
        noticed = {**module.NOTICED, **getattr(module, "NOTICED_AWAY", {})}
        for backend, tests in noticed.items():
            sides = (tests, tests) if isinstance(tests, str) else tests
            yield from (
                (name, backend, *each) for each in zip(SIDES, sides, strict=True) if each[1]
            )
        for backend, test in getattr(module, "NOTICED_NATIVELY", {}).items():
            yield name, backend, "Aio", test


EXPECTED = list(expectations())


def sound_twin(name, backend):
    """Return the backend that is not broken, and has all that the broken one's proof has."""
    module = MODULES[name]
    if backend in getattr(module, "NOTICED_NATIVELY", {}):
        return name, "Native"
    away = {*getattr(module, "NOTICED_AWAY", {}), "UnmappedErrors", "TellsSecrets"}
    return None if backend in away else SOUND[name]


SOUND_RUNS = sorted(
    {
        (*sound, side, test)
        for name, backend, side, test in EXPECTED
        if (sound := sound_twin(name, backend)) is not None
    }
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Run each broken backend's test, and all of these of the sound ones, in a process each."""
    directory = tmp_path_factory.mktemp("bites")
    # Some are known to hang, so they get less time.
    runs = [
        start(directory / "broken.xml", EXPECTED, patience=1),
        start(directory / "sound.xml", SOUND_RUNS),
    ]
    found = {}
    for report, process in runs:
        output, _ = process.communicate(timeout=600)
        assert process.returncode in (0, 1), output
        found |= outcomes_in(report)
    return found


def start(
    report: Path, runs: list[tuple], *, patience: float = 30
) -> tuple[Path, subprocess.Popen]:
    """Start pytest on some tests of the broken backends."""
    root = HERE.parents[2]
    environment = {
        "COATCHECK_BITES": ",".join({test.partition("[")[0] for *_, test in runs}),
        "COATCHECK_TESTING_PATIENCE": str(patience),
        "PYTHONPATH": str(HERE),
    }
    # Broken backends leave things behind, as they are to.
    lenient = ["ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(f"--rootdir={root}", f"-c{root / 'pyproject.toml'}", f"--junitxml={report}"),
            *(f"-W{warning}" for warning in lenient),
            *(
                f"{HERE / name}.py::Test{backend}{side}::{test}"
                for name, backend, side, test in runs
            ),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    return report, process


def outcomes_in(report: Path) -> dict[str, str]:
    """Return for each test whether it failed, or passed, or could not even start."""
    found = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname').rpartition('.')[2]}::{case.get('name')}"
        kinds = [kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None]
        if found.get(name) != "failure":  # a test that hung in its end as well is there twice
            found[name] = kinds[0] if kinds else "passed"
    return found


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda expected: "-".join(expected[1:3]))
def test_broken_backend_is_noticed(outcomes, expected):
    """The test that is named fails on the backend that is broken, and is not merely in error."""
    _, backend, side, test = expected

    assert "failure" == outcomes[f"Test{backend}{side}::{test}"]


@pytest.mark.parametrize("sound", SOUND_RUNS, ids="-".join)
def test_sound_backend_passes(outcomes, sound):
    """The same test passes on the backend that is not broken."""
    _, backend, side, test = sound

    assert "passed" == outcomes[f"Test{backend}{side}::{test}"]


def test_there_are_many_mistakes():
    """Thirty mistakes and more are tried on each side, but for those that one side cannot make."""
    for side in SIDES:
        assert len({backend for _, backend, of, _ in EXPECTED if of == side}) > 80
