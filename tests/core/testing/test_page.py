"""
The page on writing a backend is true: its backend keeps the contract by its proof.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from coatcheck.testing import PROMISES
from coatcheck.testing.proof import Proof

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "board"
BACKENDS = ROOT / "docs" / "examples" / "backends"
#: The tests of the contract that run by default.
SOME = (
    "shape or first_ready or if_match or lost_reply or rings_after or barrier or fork_in_c or forgotten or "
    "cancelled_store or dropped"
)
PAGE = (ROOT / "docs" / "how-to" / "write-a-backend.md").read_text(encoding="utf-8")


def modules() -> dict[str, str]:
    """Return the page's modules by their names."""
    found = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL)
    return dict(found)


def test_the_example_keeps_the_contract(tmp_path):
    """The page's backend passes the whole contract, on both sides, warnings included."""
    for name, source in modules().items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers"]
    run = subprocess.run(
        command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=600
    )

    assert 0 == run.returncode, run.stdout[-5000:]
    assert re.search(r"\d{3} passed", run.stdout)
    assert "skipped" not in run.stdout


def test_the_example_survives(tmp_path):
    """The page's run under faults ends well."""
    for name, source in modules().items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    command = [sys.executable, "-W", "error", "chaos_notes.py", "1000"]
    run = subprocess.run(
        command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=600
    )

    assert 0 == run.returncode, run.stdout + run.stderr
    assert "'confirmed': " in run.stdout


@pytest.fixture(params=[EXAMPLE, BACKENDS / "lmdb", BACKENDS / "etcd"], ids=lambda path: path.name)
def installed(request, tmp_path):
    """An example as an installed plugin: other processes find it by its entry point."""
    shutil.copytree(request.param, tmp_path, dirs_exist_ok=True)
    text = (request.param / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    metadata = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        f"[{group}]\n{name} = {target}\n"
        for group, entries in project["entry-points"].items()
        for name, target in entries.items()
    ]
    (metadata / "entry_points.txt").write_text("".join(lines))
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    "tests",
    [pytest.param(["-k", SOME], id="some"), pytest.param([], id="all", marks=pytest.mark.long)],
)
def test_an_example_keeps_the_contract(installed, tests):
    """A packaged example passes the contract, on both sides, warnings included."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(
        command,
        cwd=installed,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert 0 == run.returncode, run.stdout[-5000:]
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) > 15


def test_the_page_shows_the_example():
    """Each part that the page includes from the example is there."""
    source = (EXAMPLE / "board.py").read_text(encoding="utf-8")
    marks = re.findall(r':(?:start-after|end-before): "(.*)"', PAGE)

    assert len(marks) >= 8
    assert [] == [mark for mark in marks if 1 != source.count(f"{mark}\n")]


@pytest.mark.parametrize(("name", "most"), [("lmdb", 120), ("etcd", 250)])
def test_an_example_is_short(name, most):
    """Its lines, without the empty ones, are few, and the page leads to it."""
    source = (BACKENDS / name / f"coatcheck_{name}.py").read_text(encoding="utf-8")
    assert sum(map(bool, source.splitlines())) <= most
    assert f"docs/examples/backends/{name}" in PAGE


def test_the_proof_is_short():
    """A proof has at most 40 lines."""
    proof = modules()["test_notes.py"].partition("class NotesProof")[2]

    assert len(proof.splitlines()) <= 40


def test_tables_are_complete():
    """The page names every promise in the contract's words, and every hook."""
    assert [] == [text for text in PROMISES.values() if text not in PAGE]
    assert [] == [hook for hook in Proof.HOOKS if f"`{hook}" not in PAGE]
