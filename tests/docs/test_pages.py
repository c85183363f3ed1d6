"""
The README and the documentation: links lead somewhere, pages are found, and examples run.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    page
    for page in sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
    if page.parent.name != "generated"
]
#: Pages whose Python runs as it stands, each from its first block to its last.
RUN = ["README.md", "docs/index.md", "docs/tutorial/first-result.md"]

LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def name_of(page: Path) -> str:
    """Return the name of a page in test ids and in `RUN`."""
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@cache
def prose_of(page: Path) -> str:
    """Return the text of a page without its blocks of code."""
    return re.sub(
        r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


@cache
def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page: its headings as GitHub and MyST write them, and explicit ones."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ +(.+?) *$", prose_of(page), re.MULTILINE)
    slugs = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-").strip("-")
        for heading in headings
    }
    for name in re.findall(r"^```\{include\} ((?!generated/).*)$", text, re.MULTILINE):
        slugs |= anchors_of((page.parent / name).resolve())
    return {*slugs, *re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE)}


def python_of(page: Path) -> list[str]:
    """Return the Python of a page, one text for each block."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [
        re.sub(f"^{indent}", "", code, flags=re.MULTILINE)
        for indent, kind, code in blocks
        if kind == "python"
    ]


@each_page
def test_links_lead_somewhere(page):
    """Each relative link names a file that is there, and an anchor that it has."""
    broken = []
    for link in LINK.findall(prose_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)

    assert [] == broken


@each_page
def test_python_is_python(page):
    """Each block of Python parses; await may stand outside a function."""
    for code in python_of(page):
        compile(code, name_of(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("name", RUN)
def test_examples_run(name, tmp_path):
    """The Python of a page runs, block after block, and prints what its comments say."""
    blocks = python_of(ROOT / name)
    expected = [
        said
        for code in blocks
        for said in re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
    ]
    program = tmp_path / "page.py"
    program.write_text("\n\n".join(blocks), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert 0 == ended.returncode, ended.stderr
    printed = ended.stdout.splitlines()
    assert [] == [said for said in expected if said.partition(",")[0] not in ended.stdout], printed


def linked(page: Path) -> set[Path]:
    """Return the pages that a page links to or lists in its menu."""
    text = page.read_text(encoding="utf-8")
    menus = re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    listed = re.findall(r"^(?:.*<)?([\w/*-]+)>?$", "\n".join(menus), re.MULTILINE)
    names = [f"{name}.md" for name in listed] + [
        link.partition("#")[0] for link in LINK.findall(prose_of(page))
    ]
    return {found.resolve() for name in names if name for found in page.parent.glob(name)}


def test_every_page_is_two_clicks_away():
    """The landing page leads to each page, directly or by one page in between."""
    near = linked(DOCS / "index.md")
    reached = near.union(*(linked(page) for page in near if page.suffix == ".md"))
    pages = {page for page in PAGES if page.is_relative_to(DOCS)} - {DOCS / "index.md"}

    assert set() == pages - reached
