"""
The page on the architecture says what is so.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "src" / "coatcheck"
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")


def test_every_path_is_there():
    """Each file and directory that the page names exists."""
    named = re.findall(r"`([\w./-]+(?:\.py|\.md|\.toml|/))`", PAGE)
    drawn = re.findall(r"^ (_\w+/\w+\.py) ", PAGE, re.MULTILINE)
    homes = (ROOT, CORE, CORE / "_backends", CORE / "_waiting")
    lost = [
        path
        for path in [*named, *drawn]
        if "NAME" not in path and path != "pyproject.toml"
        if not any((home / path).exists() for home in homes)
    ]

    assert len(named) > 20
    assert len(drawn) > 8
    assert [] == lost


def test_every_package_is_there():
    """The table has each private package of core, in the order in which they may import each other."""
    table = PAGE[PAGE.index("| package |") : PAGE.index("Core names no store")]
    packages = re.findall(r"^\| `(_\w+)` \|", table, re.MULTILINE)
    layers = (ROOT / "tests" / "core" / "test_layers.py").read_text(encoding="utf-8")
    order = re.search(r'^ORDER = """\n(.*?)"""', layers, re.MULTILINE | re.DOTALL)[1].split()

    assert {path.parent.name for path in CORE.glob("_*/__init__.py")} == set(packages)
    assert [name for name in order if name in packages] == packages
