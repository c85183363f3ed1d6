"""
The page on writing a backend is true: its backend keeps the contract by its proof.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from coatcheck.testing import PROMISES
from coatcheck.testing.proof import Proof

ROOT = Path(__file__).parents[3]
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


def test_the_proof_is_short():
    """A proof has at most 40 lines."""
    proof = modules()["test_notes.py"].partition("class NotesProof")[2]

    assert len(proof.splitlines()) <= 40


def test_tables_are_complete():
    """The page names every promise in the contract's words, and every hook."""
    assert [] == [text for text in PROMISES.values() if text not in PAGE]
    assert [] == [hook for hook in Proof.HOOKS if f"`{hook}" not in PAGE]
