"""
The page of errors has all of them, each with its place in the family, its cause and its remedy.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coatcheck import errors

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
ERRORS = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.CoatcheckError)
}
#: A line of the tree: its depth, the name, and the base class of the standard library, if any.
LINE = re.compile(r"^((?:[│ ]  )*)(?:[├└]─ )?(\w+)(?: \((\w+)\))?(?:  .*)?$", re.MULTILINE)
TREE = PAGE.partition("```text\n")[2].partition("```")[0]
ROW = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \| (.*) \| (.*) \|$", re.MULTILINE)


@pytest.mark.parametrize("name", ERRORS)
def test_each_error_has_a_cause_and_a_remedy(name):
    """One row names the error, with two cells that are not empty."""
    cells = [row[1:] for row in ROW.findall(PAGE) if f"`{name}`" in row[0]]

    assert 1 == len(cells)
    assert all(cell.strip() for cell in cells[0])


def test_the_tree_is_that_of_the_classes():
    """Each error stands under its base class, with the builtin that it also is."""
    found, path = {}, []
    for bars, name, builtin in LINE.findall(TREE):
        depth = len(bars) // 3 + (name != "CoatcheckError")
        path[depth:] = [name]
        found[name] = [*path[-2:-1], builtin] if builtin else path[-2:-1]
    expected = {name: [base.__name__ for base in error.__bases__] for name, error in ERRORS.items()}

    assert expected | {"CoatcheckError": []} == found
