"""
The page of known backends says what the installed ones say.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
KNOWN = tomllib.loads((DOCS / "reference" / "backends.toml").read_text())["backend"]
#: It keeps nothing.
NO_STORE = {"disabled"}


def installed():
    """Return the distribution and the capabilities of each scheme."""
    command = [sys.executable, "-m", "coatcheck", "backends", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {
        scheme["scheme"]: (scheme["distributions"][0].split()[0], scheme["sync"]["capabilities"])
        for scheme in json.loads(done.stdout)["schemes"]
        if scheme["scheme"] not in NO_STORE
    }


def test_the_data_is_true():
    """Each installed scheme is there once, with its distribution and its capabilities."""
    said = {
        scheme: (backend["distribution"], [name.upper() for name in backend["capabilities"]])
        for backend in KNOWN
        for scheme in backend["schemes"]
    }
    found = installed()

    assert found == {scheme: said[scheme] for scheme in found}
    assert sum(len(backend["schemes"]) for backend in KNOWN) == len(said)


def test_the_page_is_made_from_it():
    """The table has a row for each entry, with the run that certified it."""
    code = "import generate; print(generate.backends())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=DOCS)
    rows = done.stdout.splitlines()[2:]

    assert len(KNOWN) == len(rows)
    for backend, row in zip(KNOWN, rows, strict=True):
        assert f"[{backend['store']}]" in row
        if "certified" in backend:
            assert isinstance(backend["certified"]["date"], date)
            assert str(backend["certified"]["date"]) in row
    assert any("certified" in backend for backend in KNOWN)
