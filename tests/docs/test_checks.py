"""
Each check of the documentation finds the mistakes that it is made for.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def check(name):
    """Return a script of docs as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Waits look at 1 ms.", ["Waits look"]),
        ("The bell rings\nat the next look.", ["rings", "next look"]),
        ("It goes over the query, for the life of a record.", ["goes over the", "life"]),
        ("A sign of life. Signs of life. It looks for a file, and you look at it.", []),
        ("`safety_look`, and a block:\n```python\nring = the_look = life = 1\n```\n", []),
    ],
)
def test_words(text, found):
    """Words that only we would use are found in prose, and not in code."""
    assert sorted(found) == sorted(word for _, word, _ in check("words").found_in(text))


def test_words_have_their_line():
    """The line is that of the page, with the blocks of code counted."""
    text = "```text\nlife\n```\n\nThe life of it.\n"

    assert [(5, "life", "time to live")] == list(check("words").found_in(text))


def site(directory, **changed):
    """Make a site of three pages, each one click further away; return its problems."""
    pages = {
        "index": '<a href="near.html#here">near</a> <a href="https://example.org/">other</a>',
        "near": '<p id="here"></p> <a class="x" href="far.html">far</a>',
        "far": '<script src="_static/search.js"></script>',
        **changed,
    }
    for name, text in pages.items():
        (directory / f"{name}.html").write_text(text)
    listed = "".join(f"- [Page]({name}.html)\n" for name in pages if name != "unlisted")
    (directory / "llms.txt").write_text(listed)
    return list(check("site").problems_of(directory))


@pytest.mark.parametrize(
    ("changed", "problems"),
    [
        ({}, []),
        ({"far": '<a href="gone.html">gone</a>'}, ["far.html: nothing is at gone.html"]),
        ({"far": '<a href="near.html#gone">gone</a>'}, ["far.html: nothing is at near.html#gone"]),
        ({"far": '<a href="#gone">gone</a>'}, ["far.html: nothing is at #gone"]),
        (
            {"far": '<a href="farther.html">farther</a>', "farther": ""},
            ["farther.html: more than two clicks from the landing page"],
        ),
        (
            {"far": '<script src="https://cdn.example.org/x.js">'},
            ["far.html: it loads https://cdn.example.org/x.js"],
        ),
        (
            {
                "near": '<p id="here"></p><a href="far.html">far</a><a href="unlisted.html">u</a>',
                "unlisted": "",
            },
            ["unlisted.html: not in llms.txt"],
        ),
    ],
)
def test_site(tmp_path, changed, problems):
    """Each thing that a site may lack is told, and nothing of a whole site."""
    assert problems == site(tmp_path, **changed)
